"""What the candidate loses when its inputs get worse: cells that are missing, or noise on numbers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.stats.paired import Said, compare
from engine.steps.evaluate import ask
from engine.steps.examining.subject import SEED, Subject
from engine.steps.schema import Table

if TYPE_CHECKING:
    import pandas as pd


def measure(request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """The comparison of the model on worse rows (`candidate`) with itself on the rows as they are (`other`)."""
    worse = _worse(request, subject)
    table = Table(worse, subject.table.target, subject.table.frame)
    answers = ask(subject.model, table, subject.schema)
    if answers.error:
        raise StepError(f"on such rows {answers.error}")
    try:
        found = compare(
            subject.truth,
            Said(answers.prediction, answers.probabilities),
            subject.said,
            metric=request["metric"],
            average=request.get("average"),
            classes=subject.classes,
            positive=subject.schema.positive_number,
            seed=SEED,
        )
    except (KeyError, ValueError):
        raise StepError(
            f"{request['metric']} does not apply to a {subject.schema.task} task", remedy="Name another metric."
        ) from None
    return found.to_json()


def _worse(request: Mapping[str, Any], subject: Subject) -> pd.DataFrame:
    import numpy as np

    frame: pd.DataFrame = subject.table.features.copy()
    share = request["share"]
    noisy = [f.name for f in subject.schema.features if f.kind == "numeric"]
    if request["robustness"] == "noise" and not noisy:
        raise StepError("no feature is a number, so there is nothing to add noise to", remedy="Take the gate out.")
    for name in frame.columns if request["robustness"] == "missing" else noisy:
        # Of each feature its own, so that another column in the data does not change what happens to the rest.
        generator = np.random.default_rng([SEED, zlib.crc32(str(name).encode())])
        if request["robustness"] == "missing":
            gaps = generator.random(len(frame)) < share
            column = frame[name] if frame[name].dtype.kind in "fMO" else frame[name].astype(_with_gaps(frame[name]))
            frame[name] = column.mask(gaps)
        else:
            numbers = frame[name].astype(float)
            frame[name] = numbers + generator.normal(0, share * float(numbers.std(ddof=0) or 0.0), len(frame))
    return frame


def _with_gaps(column: pd.Series[Any]) -> Any:
    """The type that holds a column's values and gaps."""
    return float if column.dtype.kind in "iu" else object
