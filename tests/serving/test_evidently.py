"""Evidently's page of a window: its absence is said, and the real thing in an environment of its own.

Evidently is no part of the environment for tests: it brings 30 packages. With ENGINE_SOAK=1 it is installed beside the
engine, with the versions of .ci/constraints.txt, and asked there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.adapters.evidently_page import evidently_page
from engine.errors import NotSupportedError, StepError
from engine.stats.drift import Column

ROOT = Path(__file__).parents[2]
HERE = importlib.util.find_spec("evidently") is not None


def columns(seed: int, shift: float = 0.0, rows: int = 600) -> list[Column]:
    """Every kind, with gaps, and a prediction that is called like a feature."""
    draw = np.random.default_rng(seed)
    kept = draw.random(rows) < 0.9
    return [
        Column("months", "numeric", np.where(kept, draw.normal(shift, 1, rows), np.nan)),
        Column("steady", "numeric", draw.normal(size=rows)),
        Column("plan", "categorical", np.where(kept, draw.choice(["basic", "pro", "team"], rows), None)),
        Column("paid", "boolean", draw.random(rows) < 0.5),
        Column("since", "date", [f"2026-01-{1 + day:02d}" for day in draw.integers(0, 28, rows)]),
        Column("words", "text", ["x" * length for length in draw.integers(1, 30, rows)]),
        Column("empty", "numeric", [None] * rows),
        Column("prediction", "numeric", draw.normal(size=rows)),
        Column("prediction", "categorical", np.where(draw.random(rows) < 0.5, "yes", "no"), "prediction"),
    ]


@pytest.mark.skipif(HERE, reason="Evidently is installed")
def test_without_evidently_it_is_said_what_to_install() -> None:
    with pytest.raises(NotSupportedError, match="not installed") as error:
        evidently_page(columns(1), columns(2), 0.01, {})
    assert "pip install 'engine[evidently]'" in error.value.remedy
    assert "--html" in error.value.remedy


@pytest.mark.skipif(not HERE, reason="Evidently is not installed here")
def test_a_page_shows_what_moved_and_needs_and_asks_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    for name in ("connect", "connect_ex", "sendto"):  # telemetry, word lists
        monkeypatch.setattr(socket.socket, name, lambda _, *about: asked.append(about))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *about, **_: asked.append(about) or [])
    page = evidently_page(columns(1), columns(2, 0.8), 0.01, {"model": "churn@3"})
    said = page.replace("\\u003c", "<")
    assert re.search(r"<script[^>]+src=", page) is None and re.search(r"<link[^>]+href=\"http", page) is None
    for name in ("months", "plan", "paid", "since", "words", "prediction (of the model)"):
        assert name in said
    assert "K-S p_value" in said and "chi-square p_value" in said
    assert "Drift is detected for 12.5% of columns (1 out of 8)" in said  # `empty` holds nothing to compare
    assert asked == []


@pytest.mark.skipif(not HERE, reason="Evidently is not installed here")
def test_what_cannot_be_compared_is_no_page() -> None:
    nothing = [Column("months", "numeric", [None] * 600)]
    with pytest.raises(StepError, match="no column has enough values"):
        evidently_page(nothing, nothing, 0.01, {})


@pytest.mark.skipif(os.environ.get("ENGINE_SOAK") != "1" or HERE, reason="installs Evidently; see the docstring")
def test_the_real_thing_in_an_environment_of_its_own(tmp_path: Path) -> None:
    python, uv = tmp_path / "evidently" / "bin" / "python", Path(sys.executable).with_name("uv")
    constraints, extra = ROOT / ".ci" / "constraints.txt", f"{ROOT}[evidently]"
    for argv in (
        [uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]],
        [uv, "pip", "install", "--quiet", "--python", python, "-c", constraints, "-e", extra, "pytest"],
    ):
        subprocess.run(list(map(str, argv)), check=True, timeout=600)
    alone = ["--noconftest", "-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", *alone, str(Path(__file__).resolve())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "ENGINE_SOAK": "0"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "2 passed, 2 skipped" in done.stdout, done.stdout[-2000:]
