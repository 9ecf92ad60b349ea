"""One applied project for all, with further releases; gateways on copies of it."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import ALTERED, CHANGED, MISCHIEF, TWIN, Gateway, add_release, set_endpoint

from engine.app.signing import ModelSignatures
from engine.app.workspace import open_workspace
from engine.cli.entry import run
from engine.core.records import Artifact
from engine.steps.model_files import META

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))


@pytest.fixture(scope="session")
def _project(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    return made_once("served", _make) / "project"


def _make(made: Path) -> None:
    """Release 1 is real and live; 2 is the same model, 3 does mischief, 4 does not answer as recorded, 5 is altered."""
    from cli_project import make_project, rows

    folder = make_project(made / "project")
    (folder / "data" / "churn.csv").write_text(rows(600))  # so many held out that performance can be estimated
    assert run(["--chdir", str(folder), "apply", "--auto-approve"]) == 0
    workspace = open_workspace(folder)
    first = next(iter(workspace.reader.releases("churn")))
    model = workspace.artifacts.path(first.artifact)
    report = json.loads(workspace.artifacts.path(_evaluation(first.evidence)).read_text())
    add_release(folder, TWIN)
    naughty = _mischief(model, made / "mischief")
    mischief = workspace.artifacts.put(naughty)
    ModelSignatures(workspace).sign(mischief)
    add_release(folder, MISCHIEF, artifact=mischief, evidence={})
    report["serving"]["golden"]["predictions"].reverse()
    changed = made / "evaluation.json"
    changed.write_text(json.dumps(report))
    artifacts = {**first.evidence["artifacts"], "evaluation": workspace.artifacts.put(changed).digest}  # type: ignore[dict-item]
    add_release(folder, CHANGED, evidence={"artifacts": artifacts})
    other = shutil.copytree(model, made / "altered")
    (other / "more").write_text("more")
    altered = workspace.artifacts.put(other)
    file = workspace.artifacts.path(altered) / "more"
    file.chmod(0o600)
    file.write_text("less")
    add_release(folder, ALTERED, artifact=altered)
    workspace.reader.close()


def _evaluation(evidence: Any) -> Artifact:
    return Artifact(evidence["artifacts"]["evaluation"], 0, "evaluation.json")


def _mischief(like: Path, folder: Path) -> Path:
    from mischief import Mischief

    from engine.core.canonical import digest_bytes
    from engine.steps.model_files import _pickled

    folder.mkdir()
    data = _pickled(Mischief(), Path(__file__).parent)
    (folder / "model.pkl").write_bytes(data)
    meta = json.loads((like / META).read_text())
    meta |= {"format": "pickle", "file": "model.pkl", "digest": digest_bytes(data)}
    (folder / META).write_text(json.dumps(meta))
    return folder


@pytest.fixture
def project(_project: Path, tmp_path: Path) -> Path:
    """A project of one's own."""
    return Path(shutil.copytree(_project, tmp_path / "project", symlinks=True))


@pytest.fixture
def serve(project: Path) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway on one's own project."""
    started: list[Gateway] = []

    def starting(**settings: Any) -> Gateway:
        started.append(Gateway(project, settings).start())
        return started[-1]

    yield starting
    for gateway in started:
        assert gateway.stop() in (0, -signal.SIGKILL)


@pytest.fixture(scope="session")
def gateway(_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for all: it costs seconds to start. Its limits are such that a test can wait for them."""
    folder = Path(shutil.copytree(_project, tmp_path_factory.mktemp("shared") / "project", symlinks=True))
    limits = {"head_seconds": 0.5, "body_seconds": 0.8, "idle_seconds": 60.0, "max_body": 200_000, "deadline": 4.0}
    found = Gateway(folder, limits).start().ready()
    yield found
    assert found.stop() == 0


@pytest.fixture
def live(gateway: Gateway) -> Gateway:
    """The shared gateway with release 1 alone in effect, and no evidence yet."""
    after = set_endpoint(gateway.folder, stable=1, candidate=None, weight=0.0, mirror=0.0)
    gateway.wait(lambda: gateway.model()["generation"] == after.generation)
    gateway.effective(stable=1)
    gateway.since = after.generation
    return gateway
