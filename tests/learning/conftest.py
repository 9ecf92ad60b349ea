"""Projects and rows that the tests of training share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a worker; threads that spin starve each other

import pandas as pd
import pytest
from lifecycle_project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    return lambda: Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def people() -> pd.DataFrame:
    """300 rows of every kind of column, with gaps, and a binary target that depends on all of them."""
    import numpy as np

    generator = np.random.default_rng(3)
    rows = 300
    age = generator.normal(40, 12, rows).round(1)
    city = generator.choice(np.array(["Bern", "Rom", "Oslo"], dtype=object), rows)
    member = generator.random(rows) < 0.4
    joined = pd.Timestamp("2021-01-01") + pd.to_timedelta(generator.integers(0, 700, rows), unit="D")
    words = np.array(["good service and kind people", "slow answer never again", "it was fine I think"], dtype=object)
    opinion = np.array([f"{text} {number}" for number, text in enumerate(generator.choice(words, rows))], dtype=object)
    push = (age > 42) * 1.5 + (city == "Rom") + member + np.char.startswith(opinion.astype(str), "good") * 1.5
    target = np.where(push + generator.normal(0, 0.7, rows) > 2, "yes", "no").astype(object)
    frame = pd.DataFrame(
        {"age": age, "city": city, "member": member.astype(object), "joined": joined, "opinion": opinion}
    )
    for column, share in (("age", 0.1), ("city", 0.1), ("member", 0.1), ("joined", 0.05), ("opinion", 0.05)):
        frame.loc[generator.random(rows) < share, column] = None
    return frame.assign(target=target)
