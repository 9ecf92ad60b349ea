"""A function of the user's own says what it thinks of the candidate's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.steps.examining.subject import Subject
from engine.steps.table import read_parquet
from engine.steps.train import load_function


def measure(request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """`{said}`: True, False or a finite number; else `shown` tells what it gave. Whatever it raises goes through."""
    import math

    function = load_function(request["function"], subject.context.project)
    predictions = read_parquet(subject.context.inputs["predictions"]).drop(columns="row")
    said = function(predictions, subject.table.frame.copy())
    if hasattr(said, "item") and getattr(said, "ndim", 0) == 0:
        said = said.item()
    if isinstance(said, bool) or (isinstance(said, int | float) and math.isfinite(said)):
        return {"said": said}
    return {"said": None, "shown": repr(said)[:80]}
