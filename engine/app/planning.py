"""From spec files to a plan, the quick way where nothing has changed.

The quick way: a spec file, the state of its model, and every file that its last empty plan looked at are unchanged,
so that plan still holds. All others are planned anew by `app.fresh_planning`, which is imported only then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from engine.app.cache import Cache, Memo
from engine.app.children import Children
from engine.app.documents import SpecDocument, begin_validating, load_specs, new_texts, read_texts, spec_keys
from engine.app.workspace import PROJECT_FILE, Workspace
from engine.core.canonical import digest, utc
from engine.core.plan import ModelPlan, Plan, Request, Reuse
from engine.core.records import Endpoint, StepResult
from engine.errors import Diagnostic, SpecError, UsageError
from engine.runtime.packages import installed_packages

if TYPE_CHECKING:
    from engine.app.detecting import Detection
    from engine.core.graph import Graph
    from engine.runtime.observe import World

_SAID_BY_PLAN = frozenset({"scheduled", "manual"})  # what a plan says of itself

SPEC_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class TriggerState:
    """What a plan says of one trigger. `next` is when a schedule fires next, UTC."""

    type: str
    text: str
    next: str | None = None


class PlannedModel:
    """A model in a plan: its spec, and what was observed. Loaded when asked for, if the plan came from a memo.

    `detection` is what the canary that the plan begins can detect; `restraints` are policies that would keep a
    deployment from beginning, if it were now.
    """

    def __init__(
        self,
        file: str,
        plan: ModelPlan,
        triggers: tuple[TriggerState, ...],
        load: Callable[[], tuple[SpecDocument, World]],
        detection: Detection | None = None,
    ) -> None:
        self.detection = detection
        self.restraints: tuple[str, ...] = ()
        self.protected = False  # by lifecycle.prevent_destroy
        self.file = file
        self.plan = plan
        self.triggers = triggers
        self._load = load

    @cached_property
    def _loaded(self) -> tuple[SpecDocument, World]:
        return self._load()

    @property
    def document(self) -> Mapping[str, Any]:
        """The resolved spec."""
        return self._loaded[0].document

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is allowed but probably not meant."""
        return self._loaded[0].warnings

    @property
    def world(self) -> World:
        """What was observed for this plan."""
        return self._loaded[1]

    @cached_property
    def graph(self) -> Graph:
        """The life-cycle graph."""
        from engine.steps.lifecycle import build_graph

        return build_graph(self.document)


@dataclass(frozen=True)
class Planned:
    """A plan, and its models with what they were planned from. `saved` is the id of the saved plan it came from."""

    plan: Plan
    models: Mapping[str, PlannedModel]
    request: Request
    files: tuple[str, ...]
    variables: Mapping[str, str]
    saved: str | None = None


def find_specs(workspace: Workspace, paths: Sequence[str]) -> list[Path]:
    """The spec files that the user means: files, folders, or by default those in `specs/`. Raises UsageError."""
    named = [Path(path) for path in paths] or [workspace.root / "specs"]
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            found += specs_in(path)
        elif path.exists():
            found.append(path.resolve())
        else:
            hint = "Name a spec file, or begin a project: engine init" if not paths else _near(path)
            raise UsageError(f"{workspace.relative(path)} does not exist", remedy=hint)
    if not found:
        raise UsageError(f"there is no spec in {named[0]}", remedy="Write one, or begin a project: engine init")
    return list(dict.fromkeys(found))


def specs_in(folder: Path) -> list[Path]:
    """The spec files below a folder, sorted. Strings, and one resolution for all: planning finds thousands."""
    found = [f"{top}/{name}" for top, _, names in os.walk(folder.resolve()) for name in names]
    specs = (path for path in sorted(found) if path.endswith(SPEC_SUFFIXES) and not path.endswith(f"/{PROJECT_FILE}"))
    return [Path(os.path.realpath(path) if os.path.islink(path) else path) for path in specs]  # noqa: PTH114


def validate(workspace: Workspace, files: Sequence[Path], variables: Mapping[str, str]) -> list[SpecDocument]:
    """Read and validate specs, and see that their graphs hold together. Raises SpecError with all mistakes."""
    texts = read_texts(workspace, files)
    return load_specs(workspace, texts, spec_keys(workspace, texts, variables), variables)


def plan(
    workspace: Workspace,
    files: Sequence[Path],
    *,
    variables: Mapping[str, str],
    request: Request,
) -> Planned:
    """Plan every model. Changes nothing but the cache. Raises SpecError, UsageError, StateError."""
    texts = read_texts(workspace, files)
    keys = spec_keys(workspace, texts, variables)
    memos = Cache(workspace.cache_file).memos(texts)
    with _begin(workspace, texts, keys, variables, memos) as begun:
        now = workspace.clock()
        packages = installed_packages()
        lineage = workspace.reader.lineage()
        world_key = digest([lineage.lineage, str(workspace.root), packages])
        inquiry = Inquiry(workspace, texts, keys, variables, request, now, packages, world_key)
        models = {} if request != Request() else _remembered(inquiry, memos)
        rest = [file for file in texts if file not in models]
        if rest:
            from engine.app.fresh_planning import plan_afresh

            models.update(plan_afresh(inquiry, rest, memos, begun))
    _refuse_twins(models)
    ordered = [models[file] for file in texts]
    _add_what_was_said(workspace, ordered)
    whole = Plan(lineage.lineage, lineage.serial, utc(now), tuple(model.plan for model in ordered))
    return Planned(whole, {model.plan.name: model for model in ordered}, request, tuple(texts), variables)


@dataclass(frozen=True)
class Inquiry:
    """One call of `plan`: what was asked, and what all models have in common. Keys and texts are by file."""

    workspace: Workspace
    texts: Mapping[str, bytes]
    keys: Mapping[str, str]
    variables: Mapping[str, str]
    request: Request
    now: datetime
    packages: Mapping[str, str]
    world_key: str


def _begin(
    workspace: Workspace,
    texts: Mapping[str, bytes],
    keys: Mapping[str, str],
    variables: Mapping[str, str],
    memos: Mapping[str, Memo],
) -> Children:
    """Begin to validate the texts that are new: importing what that takes is longer than looking at all memos."""
    changed = {file: texts[file] for file, key in keys.items() if file not in memos or memos[file].spec_key != key}
    return begin_validating(workspace, new_texts(workspace, changed, keys), variables, among=len(texts))


def _remembered(inquiry: Inquiry, memos: Mapping[str, Memo]) -> dict[str, PlannedModel]:
    """The models whose last plan had nothing to do, and for which nothing has changed since."""
    found: dict[str, PlannedModel] = {}
    serials = inquiry.workspace.reader.model_serials() if memos else {}
    now = utc(inquiry.now)
    for file, memo in memos.items():
        if memo.spec_key != inquiry.keys[file] or memo.world_key != inquiry.world_key:
            continue
        if (memo.expires is not None and memo.expires <= now) or not _unchanged(json.loads(memo.watched)):
            continue
        payload = json.loads(memo.payload)
        if serials.get(payload["name"], 0) == memo.serial:
            plan = _plan_of(payload, memo.serial)
            found[file] = PlannedModel(file, plan, triggers_of(payload), partial(_load, inquiry, file))
            found[file].protected = payload["protected"]
    return found


def _load(inquiry: Inquiry, file: str) -> tuple[SpecDocument, World]:
    from engine.app.fresh_planning import load_one

    return load_one(inquiry, file)


def _add_what_was_said(workspace: Workspace, models: Sequence[PlannedModel]) -> None:
    """Beside each trigger that only the controller looks at: what it said last, if the triggers are still those."""
    asking = {model.plan.name: model for model in models if {each.type for each in model.triggers} - _SAID_BY_PLAN}
    for name, evaluation in (workspace.reader.newest_evaluations(list(asking)) if asking else {}).items():
        model, document = asking[name], cast("Mapping[str, Any]", evaluation.document)
        leaves = list(_said_of(document["judged"]))
        if [leaf["trigger"] for leaf in leaves[: len(model.triggers)]] != [each.type for each in model.triggers]:
            continue
        from engine.triggers.decision import outcome_of, text_of

        said = [
            each if each.type in _SAID_BY_PLAN else TriggerState(each.type, text_of(outcome_of(leaf)), each.next)
            for each, leaf in zip(model.triggers, leaves, strict=False)
        ]
        whole = document["judged"]["outcome"]
        if whole["status"] == "held" and all(leaf["status"] != "held" for leaf in leaves):
            said.append(TriggerState("together", text_of(outcome_of(whole))))
        model.triggers = tuple(said)


def _said_of(judged: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The outcomes of the triggers themselves, in the order of the spec."""
    if not judged["members"]:
        yield judged["outcome"]
    for member in judged["members"]:
        yield from _said_of(member)


def _refuse_twins(models: Mapping[str, PlannedModel]) -> None:
    first: dict[str, str] = {}
    for file, model in models.items():
        other = first.setdefault(model.plan.name, file)
        if other != file:
            message = f"model {model.plan.name} is defined in {other} too"
            raise SpecError([Diagnostic(file, 0, 0, message, "Give one another name.")])


def stat_of(path: str) -> list[int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - strings, for speed
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _unchanged(watched: Iterable[tuple[str, list[int] | None]]) -> bool:
    """Whether every path is as it was; an artifact (no stat kept) only has to be there."""
    for path, before in watched:
        if not os.path.exists(path) if before is None else stat_of(path) != before:  # noqa: PTH110 - for speed
            return False
    return True


def _plan_of(payload: Mapping[str, Any], serial: int) -> ModelPlan:
    actions = tuple(_stands(step, summary) for step, summary in payload["actions"])
    endpoint = Endpoint(**payload["endpoint"]) if payload["endpoint"] else None
    return ModelPlan(payload["name"], payload["spec_digest"], serial, actions, endpoint=endpoint)


@lru_cache(maxsize=4096)
def _stands(step: str, summary: str) -> Reuse:
    """A result of which only the summary is known. Many models have the same."""
    return Reuse(step, StepResult(step, "", {}, {}, summary=summary))


def triggers_of(payload: Mapping[str, Any]) -> tuple[TriggerState, ...]:
    return tuple(TriggerState(**trigger) for trigger in payload["triggers"])


def _near(path: Path) -> str:
    from difflib import get_close_matches

    names = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / close[0]}?" if close else "Check the path."
