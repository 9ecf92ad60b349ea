"""How a spec's own steps hang together: what each input refers to, which table is split, and that nothing loops.

References in the result are canonical: `data`, `step.output`, or a path of the project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise

from engine.errors import Diagnostic
from engine.spec.commands import command_references
from engine.spec.diagnostics import suggestion
from engine.spec.models import Training, UserStep
from engine.spec.yaml_tree import Node

BUILT_IN_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "snapshot": ("data",),
    "feedback": (),
    "check_data": ("profile",),
    "split": ("train", "holdout", "schema"),
    "train": ("model", "report"),
    "evaluate": ("report", "predictions", "figures", "reference"),
    "examine": (),
    "validate": ("verdict",),
    "register": ("release",),
    "package": (),
    "deploy": (),
}
_CHAIN = ("snapshot", "check_data", "split", "train", "evaluate", "validate", "register", "deploy")
TRAIN_INPUTS = ("train", "schema")
TRAIN_OUTPUTS = ("model",)
PREDICT_INPUTS = ("model", "table")
PREDICT_OUTPUTS = ("predictions",)
_STEP_ROLES = {"command": "the command itself"}
_TRAINING_ROLES = {"code": "the code of training", **dict.fromkeys(TRAIN_INPUTS, "what training always reads")}
_MOST_COMPARED = 100  # as many mistakes as are shown


@dataclass
class Wiring:
    """What the references of a spec mean. `inputs` has one mapping for each step, in order."""

    inputs: list[dict[str, str]] = field(default_factory=list)
    training: dict[str, str] = field(default_factory=dict)
    table: str | None = None
    diagnostics: list[Diagnostic] = field(default_factory=list)


def wire(
    steps: Sequence[tuple[UserStep, Node]],
    training: tuple[Training, Node] | None,
    table: Node | None,
    exists: Callable[[str], bool],
) -> Wiring:
    """Resolve every reference. `steps` and `training` come with their nodes; `table` is that of data.table."""
    return _Wirer(steps, training, exists).wire(table)


class _Wirer:
    def __init__(
        self,
        steps: Sequence[tuple[UserStep, Node]],
        training: tuple[Training, Node] | None,
        exists: Callable[[str], bool],
    ) -> None:
        self.steps = steps
        self.training = training
        self.exists = exists
        self.result = Wiring()
        self.outputs: dict[str, tuple[str, ...]] = dict(BUILT_IN_OUTPUTS)
        self.owners: dict[str, list[str]] = {}
        self.inputs_of: dict[str, dict[str, str]] = {}

    def wire(self, table: Node | None) -> Wiring:
        self._register_names()
        for step, node in self.steps:
            inputs = self._inputs(step.inputs, node, f"step {step.name}")
            self.result.inputs.append(inputs)
            self.inputs_of.setdefault(step.name, inputs)
            self._check_step(step, node)
        if self.training:
            self._wire_training(*self.training)
        self.result.table = self._named_table(table) if table else self._found_table()
        self._check_cycles()
        return self.result

    # ── names ────────────────────────────────────────────────────────────────────────────────────────────────

    def _register_names(self) -> None:
        for step, node in self.steps:
            place = node.fields.get("name", node)
            if step.name in BUILT_IN_OUTPUTS:
                self._say(place, f'"{step.name}" is the name of a built-in step', "Choose another name.")
            elif step.name in self.outputs:
                self._say(place, f'two steps are called "{step.name}"', "Give each step a name of its own.")
            else:
                self.outputs[step.name] = tuple(step.outputs)
                for role in step.outputs:
                    self.owners.setdefault(role, []).append(step.name)

    def _check_step(self, step: UserStep, node: Node) -> None:
        files: dict[str, str] = {}
        for role, file in step.outputs.items():
            if (first := files.setdefault(file.rstrip("/"), role)) != role:
                place = _at(node, "outputs", role)
                self._say(
                    place, f'the outputs "{first}" and "{role}" are the same file', "Give each a file of its own."
                )
        for key in ("after", "before"):
            for index, name in enumerate(getattr(step, key)):
                self._check_order(name, step, _at(node, key, index))
        self._check_roles(step.run, _at(node, "run"), tuple(step.inputs), tuple(step.outputs))
        self._check_reserved(step.inputs, node, _STEP_ROLES)

    def _check_order(self, name: str, step: UserStep, node: Node) -> None:
        if name not in self.outputs or name in ("package", "examine", step.name):
            known = (n for n in self.outputs if n not in ("package", "examine", step.name))
            self._say(node, f'there is no step "{name}" to wait for', self._meant(name, known, "Steps"))

    def _check_roles(self, run: Sequence[str], node: Node, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        for kind, role in dict.fromkeys(command_references(run)):
            known = inputs if kind == "inputs" else outputs
            if role not in known:
                message = f"${{{kind}.{role}}} names no declared {kind[:-1]}"
                remedy = f'Declare "{role}" under {kind}.' if not known else self._meant(role, known, "Declared")
                self._say(node, message, remedy)

    def _check_reserved(self, inputs: Mapping[str, str], node: Node, taken: Mapping[str, str]) -> None:
        for role in inputs:
            if role in taken:
                message = f'the input role "{role}" is taken by {taken[role]}'
                self._say(_at(node, "inputs", role), message, "Choose another.")

    # ── references ───────────────────────────────────────────────────────────────────────────────────────────

    def _inputs(self, inputs: Mapping[str, str], node: Node, where: str) -> dict[str, str]:
        return {role: self._reference(ref, _at(node, "inputs", role), where) for role, ref in inputs.items()}

    def _reference(self, text: str, node: Node, where: str) -> str:
        if text in ("data", "snapshot.data"):
            return "data"
        step, _, output = text.partition(".")
        if output in self.outputs.get(step, ()):
            return text
        owners = self.owners.get(text, [])
        if len(owners) > 1:
            choices = " or ".join(f"{owner}.{text}" for owner in owners)
            self._say(node, f'"{text}" is an output of several steps', f"Write {choices}.")
        if owners:
            return f"{owners[0]}.{text}"
        return self._file(text, node, where)

    def _file(self, text: str, node: Node, where: str) -> str:
        if _leaves_project(text):
            self._say(
                node, f'the path "{text}" is not inside the project', "Write a path relative to the project's root."
            )
        elif text.partition(".")[0] in BUILT_IN_OUTPUTS and "." in text:
            step = text.partition(".")[0]
            names = [f"{step}.{output}" for output in BUILT_IN_OUTPUTS[step]]
            remedy = suggestion(text, names, "Its outputs") if names else f"Write ./{text} for a file."
            self._say(node, f'the step {step} has no output "{text.partition(".")[2]}"', remedy)
        elif _is_too_long(text) or not self.exists(text):
            every = ((f"{s}.{o}" for o in outputs) for s, outputs in self.outputs.items())
            meant = self._meant(text, chain(("data",), chain.from_iterable(every), self.owners), "Outputs")
            message = f'"{text}", an input of {where}, is neither an output nor a file of the project'
            near = meant.startswith("Did you mean")
            self._say(node, message, meant if near else "Create the file, or correct its path.")
        return text

    def _wire_training(self, training: Training, node: Node) -> None:
        self.result.training = self._inputs(training.inputs, node, "training")
        self._check_reserved(training.inputs, node, _TRAINING_ROLES)
        if training.run:
            self._check_roles(training.run, _at(node, "run"), (*TRAIN_INPUTS, *training.inputs), TRAIN_OUTPUTS)
        if training.predict:
            self._check_roles(training.predict, _at(node, "predict"), PREDICT_INPUTS, PREDICT_OUTPUTS)

    # ── the table ────────────────────────────────────────────────────────────────────────────────────────────

    def _named_table(self, node: Node) -> str | None:
        text = str(node.value)
        owners = self.owners.get(text, [])
        if len(owners) == 1:
            return f"{owners[0]}.{text}"
        own = [f"{step.name}.{role}" for step, _ in self.steps for role in step.outputs]
        if text not in own:
            self._say(node, f'data.table: no step of yours has the output "{text}"', suggestion(text, own, "Outputs"))
            return None
        return text

    def _found_table(self) -> str | None:
        tables = [(s.name, node) for s, node in self.steps if "table" in s.outputs and self._made_of_data(s.name)]
        if len(tables) > 1:
            names = " and ".join(name for name, _ in tables)
            place = _at(tables[1][1], "outputs", "table")
            self._say(
                place,
                f"several steps offer a table: {names}",
                f"Say which is split: data: {{table: {tables[-1][0]}.table}}.",
            )
        return f"{tables[0][0]}.table" if tables else None

    def _made_of_data(self, name: str) -> bool:
        """Whether a step reads the snapshot, itself or through others, and nothing of a built-in step after it."""
        sources: set[str] = set()
        pending = [name]
        while pending:
            found = self._steps_of(self.inputs_of[pending.pop()].values()) - sources
            sources |= found
            pending += found - set(BUILT_IN_OUTPUTS)
        return "snapshot" in sources and not sources & (set(BUILT_IN_OUTPUTS) - {"snapshot", "check_data"})

    # ── cycles ───────────────────────────────────────────────────────────────────────────────────────────────

    def _check_cycles(self) -> None:
        try:
            TopologicalSorter(self._edges()).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            node = next(node for step, node in self.steps if step.name in cycle)
            message = f"the steps form a cycle: {' → '.join(cycle)}"
            self._say(node.fields.get("name", node), message, "Remove one of these inputs, after or before.")

    def _edges(self) -> dict[str, set[str]]:
        edges: dict[str, set[str]] = {name: set() for name in self.outputs}
        for earlier, later in pairwise(_CHAIN):
            edges[later].add(earlier)
        for (step, _), inputs in zip(self.steps, self.result.inputs, strict=True):
            mine = edges.setdefault(step.name, set())
            mine.update(self._steps_of(inputs.values()))
            mine.update(name for name in step.after if name in edges)
            for name in step.before:
                if name in edges:
                    edges[name].add(step.name)
        edges["train"].update(self._steps_of(self.result.training.values()))
        if self.result.table:
            edges["split"].add(self.result.table.partition(".")[0])
        return edges

    def _steps_of(self, references: Iterable[str]) -> set[str]:
        return {step for step in map(self._step_of, references) if step}

    def _step_of(self, reference: str) -> str | None:
        """The step whose output a canonical reference names; None for a file of the project."""
        if reference == "data":
            return "snapshot"
        step, _, output = reference.partition(".")
        return step if output in self.outputs.get(step, ()) else None

    def _meant(self, word: str, known: Iterable[str], title: str) -> str:
        """The remedy for an unknown name: the nearest of `known`, which is worth searching only for what is shown."""
        if len(self.result.diagnostics) >= _MOST_COMPARED:
            return "Mend the mistakes before it first."
        return suggestion(word, list(known), title)

    def _say(self, node: Node, message: str, remedy: str) -> None:
        self.result.diagnostics.append(node.place.diagnostic(message, remedy))


def _at(node: Node, *path: str | int) -> Node:
    for part in path:
        if isinstance(part, str):
            node = node.fields.get(part, node)
        elif part < len(node.items):
            node = node.items[part]
    return node


def _leaves_project(text: str) -> bool:
    return text.startswith(("/", "~")) or ".." in text.split("/") or "\\" in text or "\x00" in text


def _is_too_long(text: str) -> bool:
    """Longer than any file system allows, which asking for such a file would fail on."""
    return len(text) > 1_000 or max(map(len, text.split("/"))) > 200
