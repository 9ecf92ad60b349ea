"""Making a release again from its record: its stored data, spec, seed and code, in a place of its own.

Nothing of the project changes: the steps up to `evaluate` run with a state and a store in a temporary folder. The data
is the stored artifact, verified by its digest. The code is that of the project if it has the recorded digests, else
that of the recorded commit, else the release cannot be made again, which is said.
"""

from __future__ import annotations

import subprocess
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from engine.adapters.sources.data import DataSources
from engine.adapters.sources.stat_cache import FileStatCache
from engine.app.lineage import find_release, graph_of_release, record_of
from engine.app.workspace import DEFAULT_STORES, Workspace
from engine.core.canonical import Json
from engine.core.graph import Graph
from engine.core.plan import Request
from engine.core.planner import make_plan, with_attempt
from engine.core.records import Artifact, ModelState
from engine.core.release_record import Change, MetricChange, environment_changes, metric_changes
from engine.errors import UsageError
from engine.runtime.apply import Task, apply_one
from engine.runtime.observe import World, contents_of, look
from engine.runtime.packages import installed_packages

if TYPE_CHECKING:
    from engine.adapters.artifacts.local import LocalArtifacts
    from engine.app.inspecting import ReleaseDetail
    from engine.ports import ArtifactStore
    from engine.runtime.events import Event

UP_TO = "evaluate"


@dataclass(frozen=True)
class Again:
    """An output of a step: its digest in the record, and as it came out now."""

    step: str
    output: str
    recorded: str
    now: str

    @property
    def agrees(self) -> bool:
        """Whether it is the same content."""
        return self.recorded == self.now


@dataclass(frozen=True)
class Reproduction:
    """What came of making a release again. `code`: where its code came from; `environment`: what is not as it was."""

    release: str
    code: str
    outputs: Sequence[Again]
    metrics: Sequence[MetricChange]
    environment: Sequence[Change]

    @property
    def same_model(self) -> bool:
        """Whether the model is the same, byte for byte."""
        return all(each.agrees for each in self.outputs if each.step == "train" and each.output == "model")

    @property
    def same_metrics(self) -> bool:
        """Whether every metric has the value and the interval that it had, and there is one."""
        return bool(self.metrics) and all(dict(each.before) == dict(each.after) for each in self.metrics)

    @property
    def agrees(self) -> bool:
        """Whether metrics and model are what the record says."""
        return self.same_model and self.same_metrics


def reproduce(workspace: Workspace, what: str, tell: Callable[[Event], None]) -> Reproduction:
    """Make a release again. Raises UsageError when its data or code is not kept, StepError when a step fails."""
    found = find_release(workspace, what)
    if found.run is None or "snapshot" not in found.lineage:
        raise UsageError(f"{what} cannot be made again: its run is not kept any more")
    record = record_of(workspace, found)
    attempt = int(record["seed"]["attempt"])
    graph = with_attempt(graph_of_release(found), "train", attempt)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="engine-reproduce-")))
        root, origin = _code(workspace, found, graph, folder / "code")
        now = _run(workspace, found, graph, _Apart(root, folder=folder / "engine"), tell)
    return _compared(record, now, origin)


def _compared(record: Mapping[str, Any], now: Mapping[str, Any], origin: str) -> Reproduction:
    release = record["release"]
    before, after = ({step["step"]: step["outputs"] for step in each["steps"]} for each in (record, now))
    outputs = [
        Again(step, role, artifact["digest"], (after.get(step, {}).get(role) or {}).get("digest") or "")
        for step, made in before.items()
        if step in after
        for role, artifact in made.items()
    ]
    return Reproduction(
        release=f"{release['model']}@{release['version']}",
        code=origin,
        outputs=outputs,
        metrics=metric_changes(record["metrics"], now["metrics"]),
        environment=environment_changes(record["environment"], now["environment"]),
    )


# ── code ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _code(workspace: Workspace, found: ReleaseDetail, graph: Graph, folder: Path) -> tuple[Path, str]:
    """A folder with the release's code and files, and what it is in words."""
    wanted = _recorded(found, graph)
    if not wanted:
        return workspace.root, "no code of the project's own"
    if _there(graph, workspace.root) == wanted:
        return workspace.root, "the project's files, unchanged since"
    git = found.run.provenance.get("git") if found.run else None
    commit = str(git.get("commit") or "") if isinstance(git, Mapping) else ""
    if commit and _check_out(workspace.root, commit, folder) and _there(graph, folder) == wanted:
        return folder, f"commit {commit[:12]}"
    changed = ", ".join(dict.fromkeys(_files_of(wanted)))
    kept = f"commit {commit[:12]} does not have it" if commit else "it was in no git repository"
    raise UsageError(
        f"the code of {found.release.model}@{found.release.version} is not kept: {changed} changed since, and {kept}",
        remedy="Commit code before it is applied: then a release can be made again.",
    )


def _files_of(contents: Mapping[str, Json]) -> list[str]:
    """The names of code and files in contents by observed key."""
    found: list[str] = []
    for key, content in sorted(contents.items()):
        found += list(content) if isinstance(content, Mapping) else [key.partition(":")[2]]
    return found


def _recorded(found: ReleaseDetail, graph: Graph) -> dict[str, Json]:
    """The contents of code and files that the release's steps read, by observed key."""
    contents: dict[str, Json] = {}
    for name, result in found.lineage.items():
        inputs: Mapping[str, Any] = result.components.get("inputs") or {}
        step = graph.by_name.get(name)
        for role, source in step.inputs.items() if step is not None else ():
            key = getattr(source, "key", "")
            if key.startswith(("code:", "file:")) and role in inputs:
                contents[key] = inputs[role]
    return contents


def _there(graph: Graph, project: Path) -> dict[str, Json]:
    """The same as they are in a folder; empty when something is missing."""
    found: dict[str, Json] = {}
    try:
        for step in graph.steps:
            found.update(contents_of(step, project, FileStatCache(None)))
    except UsageError:
        return {}
    return found


def _check_out(project: Path, commit: str, folder: Path) -> bool:
    """Lay out the project's part of a commit; False when git has it not."""
    answer = subprocess.run(  # noqa: S603 - a commit's digits from the record, no shell
        ["git", "-C", str(project), "archive", "--format=tar", f"{commit}:./"],  # noqa: S607 - the user's git
        capture_output=True,
        check=False,
    )
    if answer.returncode:
        return False
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(answer.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return True


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Apart(Workspace):
    """A project's files with a state and a store elsewhere."""

    folder: Path = Path()

    @property
    def shared(self) -> Path:
        return self.folder

    @cached_property
    def stores(self) -> Mapping[str, str | None]:
        return DEFAULT_STORES

    @cached_property
    def artifacts(self) -> LocalArtifacts:
        from engine.adapters.artifacts.local import LocalArtifacts

        return LocalArtifacts(self.folder / "artifacts")


class _Stored(DataSources):
    """The data of a release: what its snapshot saw, and stored."""

    def __init__(self, seen: str, artifact: Artifact, path: Path) -> None:
        super().__init__()
        self._seen, self._artifact, self._path = seen, artifact, path

    def is_local(self, source: Json) -> bool:  # noqa: ARG002 - whatever it was, it is in the store now
        return True

    def observe(self, source: Json, project: Path, cache: Any) -> str | None:  # noqa: ARG002 - the record says it
        return self._seen

    def snapshot(self, source: Json, project: Path, store: ArtifactStore, seen: str) -> Artifact:  # noqa: ARG002
        """The same content in another store."""
        if not self._path.is_dir():
            return store.put(self._path, self._artifact.name)
        files = {p.relative_to(self._path).as_posix(): p for p in sorted(self._path.rglob("*")) if p.is_file()}
        return store.put_tree(files, self._artifact.name)


@dataclass(frozen=True)
class _StoredLabels:
    """The labelled predictions that the release learned from."""

    seen: str
    path: Path | None

    def mark(self, model: str) -> str:  # noqa: ARG002 - a port
        return self.seen

    def write(self, model: str, mark: str, target: Path, newest: int | None = None) -> int:  # noqa: ARG002 - a port
        if self.path is None:
            raise UsageError("the labelled predictions that it learned from are not kept")
        import pyarrow.parquet as pq

        target.write_bytes(self.path.read_bytes())
        return int(pq.read_metadata(target).num_rows)


def _run(
    workspace: Workspace, found: ReleaseDetail, graph: Graph, apart: _Apart, tell: Callable[[Event], None]
) -> dict[str, Any]:
    """Run the steps; the record of what came out."""
    from engine.app.applying import runner_of

    assert found.run is not None
    document, name = found.run.document, found.release.model
    source, labels = _sources(workspace, found)
    world = look(graph, document, apart.root, FileStatCache(None), source, installed_packages(), labels.mark)
    request = Request(targets=frozenset({UP_TO}))
    state = ModelState(name)
    plan = make_plan(graph, found.run.spec_digest, state, _Nothing(), world.observations, request)
    task = Task(document, found.run.spec_digest, graph, world, plan, request)
    with runner_of(apart, tell, threading.Event()) as runner:
        means = replace(runner.means, source=source, labelled=labels, resolve_secret=workspace.resolve)
        result = apply_one(task, replace(runner, means=means))
        if result.error is not None:
            raise result.error
        steps = {each.step: each for each in apart.store.steps_of(result.run_id)[0]}
    return _as_record(apart, steps, world)


def _sources(workspace: Workspace, found: ReleaseDetail) -> tuple[_Stored, _StoredLabels]:
    """The stored data and labels. Raises IntegrityError when they are gone, or not what they were."""
    snapshot, feedback = found.lineage["snapshot"], found.lineage.get("feedback")
    data = snapshot.outputs["data"]
    seen = str((snapshot.components.get("inputs") or {}).get("data"))
    mark = str((feedback.components.get("inputs") or {}).get("feedback")) if feedback else ""
    rows = workspace.artifacts.path(feedback.outputs["rows"]) if feedback else None
    return _Stored(seen, data, workspace.artifacts.path(data)), _StoredLabels(mark, rows)


class _Nothing:
    """No earlier results: everything is done again."""

    def result(self, model: str, step: str, fingerprint: str) -> None:  # noqa: ARG002 - a port
        return None

    def has(self, artifact: Artifact) -> bool:  # noqa: ARG002 - a port
        return False


def _as_record(apart: _Apart, steps: Mapping[str, Any], world: World) -> dict[str, Any]:
    """As much of a release's record as is compared."""
    import json
    import platform

    from engine import __version__

    report = json.loads(apart.artifacts.path(steps[UP_TO].outputs["report"]).read_text(encoding="utf-8"))
    return {
        "steps": [
            {"step": name, "outputs": {role: dict(vars(a)) for role, a in result.outputs.items()}}
            for name, result in steps.items()
        ],
        "metrics": report["metrics"],
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "engine": __version__,
            "packages": dict(sorted(world.observations.packages.items())),
            "used": {},
        },
    }
