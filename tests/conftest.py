"""What all tests share: how many examples Hypothesis tries, one thread per library, warm starts, projects made once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# As many tests run at once as there are processors, or more; threads of each would only starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from command_line import Call, Outcome
from filelock import FileLock
from hypothesis import HealthCheck, settings
from warm import starting_warm

from engine.testing.postgres import PostgresServer

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("quick"), max_examples=2_000)
settings.load_profile("soak" if os.environ.get("ENGINE_SOAK") == "1" else "quick")


# Folders whose tests start many processes of the engine.
WARM = {"alerts", "app", "cli", "contracts", "crash", "evidence", "registry", "serving"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Tests of these folders, and their fixtures, start the engine's processes warm; in a soak only those marked so."""
    soak = os.environ.get("ENGINE_SOAK") == "1"
    cold = item.get_closest_marker("warm") is None if soak else item.get_closest_marker("cold") is not None
    if item.path.parent.name in WARM and not cold:
        with starting_warm():
            return (yield)
    return (yield)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Gives a folder that all workers of a test run share: the first to want it fills it, and nobody changes it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        made, ready = shared / f"once-{name}", shared / f"once-{name}.ready"
        with FileLock(f"{made}.lock"):
            assert ready.exists() or not made.exists(), f"{made} could not be made; see the test that tried first"
            if not ready.exists():
                made.mkdir()
                fill(made)
                ready.touch()
        return made

    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; tests that want one are skipped where none is installed."""
    pytest.importorskip("psycopg")
    binaries = PostgresServer.find()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    server = PostgresServer(binaries)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command line in a folder."""
    from engine.cli.entry import run

    monkeypatch.delenv("ENGINE_TRACEBACK", raising=False)

    def calling(folder: Path, *argv: str) -> Outcome:
        monkeypatch.chdir(folder)
        capsys.readouterr()
        code = run(argv)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return calling
