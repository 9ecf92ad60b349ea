"""Engine projects to measure: generated specs and data, and a state in which all of it is up to date.

A thousand models are not trained for a benchmark of `plan`. One is applied for real; for each other model `seed`
records what such an apply would have, through the state's and the artifact store's own interfaces: a run, a result
for every step with the fingerprint that planning computes, as many stored outputs, with contents of their own,
a release and an endpoint.
"""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.measure import environment

if TYPE_CHECKING:
    from engine.adapters.artifacts.local import LocalArtifacts
    from engine.app.workspace import Workspace
    from engine.core.records import Artifact, Lease, StepResult

ENGINE = str(Path(sys.executable).parent / "engine")
_HOUR = 3600.0


def spec_text(name: str, *, threshold: float = 0.1, steps: str = "") -> str:
    """A spec of usual size: what most users state, a schedule, one gate, a canary."""
    return f"""\
# The model {name}, trained anew every week.
model_spec:
  name: {name}
  owner: growth
  data:
    target: target
    split: {{strategy: stratified, holdout: 20%, seed: 7}}
{steps}\
  training:
    estimator: sklearn.linear_model.LogisticRegression
    params: {{max_iter: 500}}
  retrain_trigger:
    type: scheduled
    cron: "0 0 * * 0"
  validation:
    metric: f1_score
    threshold: {threshold}
  deployment:
    strategy: canary
    initial_traffic: 10%
"""


def user_steps(count: int, *, chain: bool) -> str:
    """`steps:` of so many commands, each behind the one before it (a chain), or all beside each other."""
    lines = ["  steps:"]
    for i in range(count):
        source = f"s{i - 1}.out" if chain and i else "data"
        lines.append(f"    - {{name: s{i}, run: 'cp ${{inputs.x}} ${{outputs.out}}', inputs: {{x: {source}}},")
        lines.append("       outputs: {out: out.csv}}")
    return "\n".join(lines) + "\n"


def write_table(path: Path, rows: int, columns: int, seed: int) -> None:
    """A CSV file of normal features `x0…` and a binary `target` that depends on the first of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(columns)), "target"])
        for _ in range(rows):
            row = [round(draw.gauss(0, 1), 6) for _ in range(columns)]
            writer.writerow([*row, int(row[0] + draw.gauss(0, 1) > 0)])


def write_project(folder: Path, specs: Mapping[str, str], rows: int = 200, columns: int = 4) -> Path:
    """A project with these specs (by model name) and data for each of them."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "specs").mkdir(parents=True)
    (folder / "engine.yaml").write_text("# a project of its own, whatever lies above it\n")
    for number, (name, text) in enumerate(specs.items()):
        (folder / "specs" / f"{name}.yaml").write_text(text)
        write_table(folder / "data" / f"{name}.csv", rows, columns, number)
    return folder


def apply_project(folder: Path) -> Path:
    """Apply a project for real. Raises CalledProcessError if that fails."""
    argv = [ENGINE, "apply", "--auto-approve"]
    subprocess.run(argv, cwd=folder, env=environment({}), check=True, stdout=subprocess.DEVNULL)
    return folder


def is_up_to_date(folder: Path) -> bool:
    """Whether `engine plan` finds nothing to do."""
    if not folder.is_dir():
        return False
    argv = [ENGINE, "plan", "--detailed-exitcode"]
    found = subprocess.run(argv, cwd=folder, env=environment({}), check=False, capture_output=True)
    return found.returncode == 0


# ── seeding ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Template:
    """A model that was applied for real: its newest results by step, and where their contents are."""

    results: Mapping[str, StepResult]
    artifacts: LocalArtifacts | None = None


def template_of(folder: Path) -> Template:
    """The only model of an applied project."""
    from engine.app.workspace import open_workspace

    workspace = open_workspace(folder)
    [state] = workspace.reader.models().values()
    return Template(state.latest, workspace.artifacts)


def seed_project(folder: Path, specs: Mapping[str, str], template: Template) -> Path:
    """A project with these specs in which everything is up to date.

    It is made in shared memory where there is some, and moved: ten thousand models are half a million fsyncs.
    """
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        made = write_project(Path(scratch, "project"), specs)
        seed(made, template)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, folder)
    return folder


def seed(folder: Path, template: Template) -> None:
    """Record every model of a project as applied. Steps that the template does not have get small outputs."""
    from engine.app.documents import load_specs, read_texts, spec_keys
    from engine.app.planning import find_specs
    from engine.app.workspace import open_workspace

    workspace = open_workspace(folder)
    texts = read_texts(workspace, find_specs(workspace, []))
    specs = load_specs(workspace, texts, spec_keys(workspace, texts, {}), {})
    seeder = _Seeder(workspace, template)
    for spec in specs:
        seeder.record(spec.document, spec.digest)
    workspace.store.close()


class _Seeder:
    def __init__(self, workspace: Workspace, template: Template) -> None:
        from engine.adapters.sources.stat_cache import FileStatCache
        from engine.runtime.packages import installed_packages

        self._workspace = workspace
        self._template = template
        self._stats = FileStatCache()
        self._packages = installed_packages()

    def record(self, document: Mapping[str, Any], spec_digest: str) -> None:
        """One model: run, results, release, endpoint."""
        from engine.adapters.state import holder
        from engine.core.records import Run, RunStatus

        name, store = document["name"], self._workspace.store
        lease = store.acquire(name, holder.this_process(), _HOUR)
        run_id = f"bench-{name}"
        store.start_run(lease, Run(run_id, name, RunStatus.RUNNING, _now(), None, spec_digest, document))
        results = {}
        for result in self._results(document, run_id):
            results[result.step] = result
            store.advance(lease, run_id, done=result)
        self._release(lease, name, run_id, results)
        store.finish_run(lease, run_id, RunStatus.DONE, "", _now())
        store.release(lease)

    def _results(self, document: Mapping[str, Any], run_id: str) -> Iterator[StepResult]:
        from engine.adapters.sources.data import DataSources
        from engine.core.fingerprint import fingerprint
        from engine.core.records import StepResult
        from engine.runtime.observe import look
        from engine.steps.lifecycle import build_graph

        root = self._workspace.root
        graph = build_graph(document)
        labels = self._workspace.labelled.mark
        world = look(graph, document, root, self._stats, DataSources(self._stats), self._packages, labels)
        done: dict[str, StepResult] = {}
        for step in graph.steps:
            found = fingerprint(step, done, world.observations)
            assert found is not None
            like = self._template.results.get(step.name) or StepResult(step.name, "", {}, {}, seconds=1.0)
            outputs = self._outputs(like, step.outputs, f"{document['name']} {step.name}")
            if step.kind == "snapshot":
                outputs = {"data": self._workspace.artifacts.put(root / "data" / f"{document['name']}.csv")}
            done[step.name] = StepResult(
                step.name,
                found.digest,
                found.components,
                outputs,
                like.facts,
                like.summary,
                like.verdict or _verdict(step.name),
                like.seconds,
                run_id,
                _now(),
            )
            yield done[step.name]

    def _outputs(self, like: StepResult, roles: Mapping[str, str], mark: str) -> dict[str, Artifact]:
        """Outputs as those of the template, each with content of its own."""
        outputs = {}
        with TemporaryDirectory(dir=self._workspace.home) as scratch:
            for role, file in roles.items():
                path = Path(scratch, file)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._copy(like.outputs.get(role), path)
                changed = min(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else path
                with changed.open("ab") as end:
                    end.write(f"\n{mark} {role}\n".encode())
                outputs[role] = self._workspace.artifacts.put(path, move=True)
        return outputs

    def _copy(self, artifact: Artifact | None, path: Path) -> None:
        if artifact is None or self._template.artifacts is None:
            path.touch()
            return
        stored = self._template.artifacts.path(artifact)
        if artifact.tree:
            shutil.copytree(stored, path, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(stored, path)

    def _release(self, lease: Lease, name: str, run_id: str, results: Mapping[str, StepResult]) -> None:
        from engine.core.records import Endpoint, Release

        store = self._workspace.store
        model = results["train"].outputs["model"]
        store.add_release(lease, Release(name, 1, f"bench-{name}", run_id, f"models:/{name}/1", model, {}))
        first = Endpoint(name)
        live = replace(first, generation=1, stable=1, deployed=results["deploy"].fingerprint)
        store.set_endpoint(lease, first, live, actor="bench", reason="seeded")
        store.set_mirrored(live)


def _verdict(step: str) -> Any:
    from engine.core.verdict import Verdict

    return Verdict.PASS if step == "validate" else None


def _now() -> str:
    from engine.core.canonical import utc

    return utc(datetime.now(timezone.utc))


def names(count: int) -> Sequence[str]:
    """So many model names."""
    return [f"model_{i:05d}" for i in range(count)]
