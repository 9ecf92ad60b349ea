"""What the world says now: contents of data, code and files, and installed versions. Reads; changes nothing.

`look` returns the observations that planning compares, the files that a step's folder needs, and every path that
was looked at, so that a later plan can tell by their stat alone that nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.core.canonical import digest
from engine.core.champion import Champion
from engine.core.code import Code, code_of, command_files, module_files
from engine.core.fingerprint import Observations
from engine.core.graph import Against, Graph, Observed, Step
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.ports import Source, StatCache

Content: TypeAlias = str | Mapping[str, str]  # a digest, or one for each file


@dataclass(frozen=True)
class World:
    """Observations; `links`: step → (relative path → file) that its folder needs; `watched`: paths looked at."""

    observations: Observations
    links: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    watched: tuple[str, ...] = ()


def look(
    graph: Graph,
    document: Mapping[str, Any],
    project: Path,
    cache: StatCache,
    source: Source,
    packages: Mapping[str, str],
    labels: Callable[[str], str],
    champion: Callable[[str], Champion | None] = lambda _model: None,
) -> World:
    """Observe everything that the steps of one model read. Raises UsageError for what is not there.

    `labels` says how far the actual values of a model's predictions go, `champion` what of a model is live.
    """
    observer = _Observer(project, cache)
    contents: dict[str, Content | None] = {"data": source.observe(source_of(document), project, cache)}
    if document["data"].get("feedback"):
        contents["feedback"] = labels(document["name"])
    imports: dict[str, frozenset[str]] = {}
    links: dict[str, dict[str, Path]] = {}
    for step in graph.steps:
        for key, seen in observer.project_inputs(step).items():
            contents[key] = seen.content
            imports[key] = frozenset(_distribution(name, packages) for name in seen.imports) & packages.keys()
            links.setdefault(step.name, {}).update({file: project / file for file in seen.files})
    live = champion(document["name"]) if asks_for_champion(graph) else None
    observations = Observations(contents=contents, imports=imports, packages=packages, champion=live)
    return World(observations, links, tuple(sorted(observer.watched)))


def asks_for_champion(graph: Graph) -> bool:
    """Whether a candidate of this graph is held against what is live."""
    return any(isinstance(source, Against) for step in graph.steps for source in step.inputs.values())


def contents_of(step: Step, project: Path, cache: StatCache) -> dict[str, Content]:
    """The code and files of the project that one step reads, as they are now, by observed key."""
    return {key: seen.content for key, seen in _Observer(project, cache).project_inputs(step).items()}


def source_of(document: Mapping[str, Any]) -> Any:
    """Where the data is; `{"default": name}` stands for the documented default, `data/<name>.csv` or `.parquet`."""
    source = document["data"]["source"]
    return {"default": document["name"]} if source is None else source


@dataclass(frozen=True)
class _Seen:
    """One observed input: its content, the files it lies in, and the packages it imports."""

    content: Content
    files: tuple[str, ...]
    imports: frozenset[str] = frozenset()


class _Observer:
    def __init__(self, project: Path, cache: StatCache) -> None:
        self._project = project
        self._cache = cache
        self._read: dict[str, bytes | None] = {}
        self.watched: set[str] = set()

    def project_inputs(self, step: Step) -> dict[str, _Seen]:
        """What a step reads of the project itself, by observed key. Raises UsageError for what is not there."""
        found: dict[str, _Seen] = {}
        for role, wanted in step.inputs.items():
            if not isinstance(wanted, Observed) or wanted.key in ("data", "feedback"):
                continue
            kind, _, name = wanted.key.partition(":")
            if kind == "code":
                code = self.code(step, role, name)
                found[wanted.key] = _Seen(dict(code.files), tuple(code.files), code.imports)
            else:
                found[wanted.key] = _Seen(self.file(step, name), (name,))
        return found

    def code(self, step: Step, role: str, name: str) -> Code:
        """The code behind a step's role: a declared file, a command's files, or a function's module."""
        if ":" in name:
            return self.function(step, name)
        if role not in ("command", "code") or name.endswith(".py"):
            if self.read(name) is None:
                raise _missing(step, name)
            return code_of([name], self.read)
        settings: Mapping[str, Any] = step.settings
        block = settings["steps"][step.name] if step.kind == "command" else settings["training"]
        if block.get("function"):
            return self.function(step, str(block["function"]))
        return code_of(command_files(block.get("run") or block["predict"], self.read), self.read)

    def function(self, step: Step, name: str) -> Code:
        """The code behind `package.module:function`."""
        module = name.partition(":")[0]
        files = module_files(module, self.read) or module_files(module, self.read, "src")
        if not files:
            field = "training.function" if step.name == "train" else f"{name} in validation"
            raise UsageError(
                f"{step.name}: module {module} is not in this project",
                remedy=f"Create {module.replace('.', '/')}.py, or mend {field}.",
            )
        return code_of(files, self.read)

    def file(self, step: Step, name: str) -> str:
        """The digest of a file, or of a folder's files by their relative paths."""
        path = self._project / name
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            self.watched.update(str(p) for p in (path, *files))
            return digest({p.relative_to(path).as_posix(): self._cache.digest(p) for p in files})
        if not path.is_file():
            raise UsageError(
                f"{step.name}: {name} does not exist", remedy=f"Create it, or mend the inputs of {step.name}."
            )
        self.watched.add(str(path))
        return self._cache.digest(path)

    def read(self, name: str) -> bytes | None:
        """The bytes of a project file, None if there is none; remembered, because imports meet again and again."""
        if name not in self._read:
            path = self._project / name
            inside = path.is_file() and path.resolve().is_relative_to(self._project.resolve())
            self._read[name] = path.read_bytes() if inside else None
            if inside:
                self.watched.add(str(path))
        return self._read[name]


def _missing(step: Step, name: str) -> UsageError:
    return UsageError(f"{step.name}: {name} does not exist", remedy=f"Create it, or mend the inputs of {step.name}.")


_DISTRIBUTIONS = {  # import name → distribution, where normalising the name does not give it
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "cv2": "opencv-python",
    "bs4": "beautifulsoup4",
}


def _distribution(name: str, packages: Mapping[str, str]) -> str:
    """The distribution that an imported top-level package most likely belongs to."""
    if name in _DISTRIBUTIONS:
        return _DISTRIBUTIONS[name]
    plain = name.replace("_", "-").lower()
    return plain if plain in packages else name
