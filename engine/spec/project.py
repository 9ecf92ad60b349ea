"""`engine.yaml`, the project's own file: defaults, models, environments, stores, webhooks and policies.

Its model_spec-shaped parts are layers of every spec; they are checked as part of the spec that they end up in.
Stores are URLs or paths, and may hold `${env:NAME}` and `${file:PATH}`, which are resolved where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.errors import Diagnostic, SpecError, UsageError
from engine.spec.references import is_reference, malformed_references, replace_variables
from engine.spec.yaml_tree import Node, parse_tree

if TYPE_CHECKING:
    from engine.spec.policies import Policy

STORES: Mapping[str, str] = {
    "state": "The state, as a SQLAlchemy URL: SQLite or PostgreSQL. `.engine/state.db` if left out.",
    "artifacts": "The folder of step outputs, by their content. `.engine/artifacts` if left out.",
    "mlflow": "MLflow's tracking server, as its URL. A SQLite file, `.engine/mlflow.db`, if left out.",
    "registry": "MLflow's model registry, as its URL. That of the tracking server if left out.",
    "openlineage": "Where OpenLineage events of every run go: a file of JSON lines, or an http or https URL.",
}
WEBHOOKS: Mapping[str, str] = {
    "secret": "What deliveries to `/hooks/NAME` are signed with, as `${env:NAME}` or `${file:PATH}`.",
}
_TOP = ("defaults", "models", "environments", "stores", "webhooks", "policies")


@dataclass(frozen=True)
class Environment:
    """One entry of `environments`."""

    overrides: Node | None = None
    models: Mapping[str, Node] = field(default_factory=dict)
    stores: Mapping[str, Node] = field(default_factory=dict)
    webhooks: Mapping[str, Node] = field(default_factory=dict)
    policies: tuple[Policy, ...] = ()


@dataclass(frozen=True)
class Project:
    """What engine.yaml says; everything is empty for a project without one."""

    defaults: Node | None = None
    models: Mapping[str, Node] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    stores: Mapping[str, Node] = field(default_factory=dict)
    webhooks: Mapping[str, Node] = field(default_factory=dict)
    policies: tuple[Policy, ...] = ()

    def below(self, model: str) -> list[Node]:
        """The layers under the spec of a model, lowest first."""
        return [node for node in (self.defaults, self.models.get(model)) if node]

    def above(self, model: str, environment: str | None) -> list[Node]:
        """The layers over it. Raises UsageError for an unknown environment."""
        if environment is None:
            return []
        chosen = self.environment(environment)
        return [node for node in (chosen.overrides, chosen.models.get(model)) if node]

    def environment(self, name: str) -> Environment:
        """One environment; raises UsageError if there is none of that name."""
        if name in self.environments:
            return self.environments[name]
        from engine.spec.diagnostics import suggestion

        remedy = suggestion(name, sorted(self.environments), "Environments")
        raise UsageError(
            f'there is no environment "{name}" in engine.yaml',
            remedy=remedy if self.environments else "Add it under environments: in engine.yaml.",
        )

    def stores_of(
        self, environment: str | None, variables: Mapping[str, str], used: set[str] | None = None
    ) -> dict[str, str]:
        """The URL or path of each store that is named, references unresolved; raises SpecError."""
        nodes = {**self.stores, **(self.environment(environment).stores if environment else {})}
        result: dict[str, str] = {}
        mistakes: list[Diagnostic] = []
        for name, node in nodes.items():
            replaced, unknown = replace_variables(node, variables, used if used is not None else set())
            mistakes += unknown
            result[name] = str(replaced.value)
        if mistakes:
            raise SpecError(mistakes)
        return result

    def webhooks_of(self, environment: str | None) -> dict[str, str]:
        """What `webhooks` says, references unresolved."""
        nodes = {**self.webhooks, **(self.environment(environment).webhooks if environment else {})}
        return {name: str(node.value) for name, node in nodes.items()}

    def policies_of(self, environment: str | None) -> tuple[Policy, ...]:
        """The rules that count; raises UsageError for an unknown environment."""
        own = self.environment(environment).policies if environment else ()
        if not own:
            return self.policies
        from engine.spec.policies import overlaid

        return overlaid(self.policies, own)


def load_project(text: bytes | None, file: str = "engine.yaml") -> Project:
    """Read engine.yaml (None or an empty file: there is none). Raises SpecError with every mistake found."""
    if text is None or not _has_content(text):
        return Project()
    parsed = parse_tree(text, file)
    if parsed.root is None:
        raise SpecError(parsed.diagnostics)
    reader = _ProjectReader(list(parsed.diagnostics))
    project = reader.project(parsed.root)
    if reader.mistakes:
        raise SpecError(reader.mistakes)
    return project


def _has_content(text: bytes) -> bool:
    lines = (line.strip() for line in text.removeprefix(b"\xef\xbb\xbf").splitlines())
    return any(line and not line.startswith(b"#") for line in lines)


class _ProjectReader:
    def __init__(self, mistakes: list[Diagnostic]) -> None:
        self.mistakes = mistakes

    def project(self, root: Node) -> Project:
        self._keys(root, _TOP, "engine.yaml")
        fields = root.fields
        return Project(
            self._layer(fields.get("defaults"), "defaults"),
            self._layers(fields.get("models"), "models"),
            {
                name: self._environment(node, f"environments.{name}")
                for name, node in self._mapping(fields.get("environments"), "environments").items()
            },
            self._stores(fields.get("stores"), "stores"),
            self._webhooks(fields.get("webhooks"), "webhooks"),
            self._policies(fields.get("policies"), "policies"),
        )

    def _environment(self, node: Node, where: str) -> Environment:
        self._keys(node, ("overrides", "models", "stores", "webhooks", "policies"), where)
        return Environment(
            self._layer(node.fields.get("overrides"), f"{where}.overrides"),
            self._layers(node.fields.get("models"), f"{where}.models"),
            self._stores(node.fields.get("stores"), f"{where}.stores"),
            self._webhooks(node.fields.get("webhooks"), f"{where}.webhooks"),
            self._policies(node.fields.get("policies"), f"{where}.policies"),
        )

    def _layer(self, node: Node | None, where: str) -> Node | None:
        """A part of a model_spec, perhaps under its own key `model_spec`."""
        if node is None or not self._is_mapping(node, where):
            return None
        if set(node.fields) == {"model_spec"}:
            return self._layer(replace(node.fields["model_spec"], key=node.key), where)
        if "name" in node.fields:
            self._say(node.fields["name"], f"{where} cannot set a model's name", "Remove it; name stands in the spec.")
        self._keys(node, _spec_keys(), where)
        return node

    def _layers(self, node: Node | None, where: str) -> dict[str, Node]:
        found = {name: self._layer(child, f"{where}.{name}") for name, child in self._mapping(node, where).items()}
        return {name: layer for name, layer in found.items() if layer}

    def _stores(self, node: Node | None, where: str) -> dict[str, Node]:
        stores = self._mapping(node, where)
        if node is not None:
            self._keys(node, tuple(STORES), where)
        for name, child in stores.items():
            self._store(child, f"{where}.{name}")
        return stores

    def _store(self, node: Node, where: str) -> None:
        from engine.spec.fields import has_password

        value = node.value
        if not isinstance(value, str) or not value.strip():
            self._say(
                node, f"{where} is not a URL or path", "Write it like sqlite:///.engine/state.db or a path.", value=True
            )
        elif bad := malformed_references(value.replace("${var:", "${env:")):
            self._say(node, f"{where}: {bad[0]} refers to nothing", "Use ${env:NAME} or ${file:PATH}.", value=True)
        elif has_password(value):
            self._say(
                node,
                f"{where} has a password in it",
                "Keep secrets out of the file: write ${env:NAME} for it.",
                value=True,
            )

    def _webhooks(self, node: Node | None, where: str) -> dict[str, Node]:
        found = self._mapping(node, where)
        if node is not None:
            self._keys(node, tuple(WEBHOOKS), where)
        for name, child in found.items():
            if not isinstance(child.value, str) or not is_reference(child.value):
                self._say(
                    child,
                    f"{where}.{name} is not a reference to a secret",
                    "Keep it out of the file: write ${env:NAME} or ${file:PATH}.",
                    value=True,
                )
        return found

    def _policies(self, node: Node | None, where: str) -> tuple[Policy, ...]:
        if node is None or node.value is None:
            return ()
        from engine.spec.policies import read_policies

        found, mistakes = read_policies(node, where)
        self.mistakes += mistakes
        return tuple(found)

    def _mapping(self, node: Node | None, where: str) -> dict[str, Node]:
        return dict(node.fields) if node is not None and self._is_mapping(node, where) else {}

    def _is_mapping(self, node: Node, where: str) -> bool:
        if isinstance(node.value, Mapping):
            return True
        if node.value is not None:
            self._say(node, f"{where} must be a mapping", "Write keys and values under it, indented.")
        return False

    def _keys(self, node: Node, known: tuple[str, ...], where: str) -> None:
        from engine.spec.diagnostics import unknown_key

        if not isinstance(node.value, Mapping):
            if where == "engine.yaml":
                self._say(node, "engine.yaml must be a mapping", f"Known keys: {', '.join(_TOP)}.")
            return
        for key, child in node.fields.items():
            if key not in known:
                self.mistakes.append(unknown_key(key, child, where, known))

    def _say(self, node: Node, message: str, remedy: str, *, value: bool = False) -> None:
        place = node.place if value else node.name_place
        self.mistakes.append(place.diagnostic(message, remedy))


def _spec_keys() -> tuple[str, ...]:
    from engine.spec.models import ModelSpec

    return tuple(ModelSpec.model_fields)
