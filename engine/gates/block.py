"""What every gate's block has in common: what happens when its verdict is not `pass`.

`stop` ends the run, `retrain` tries again (at most `retries` times, with another seed and a wider search) before it
stops, `alert` only says so: an advisory gate never decides.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.spec.fields import Block, mistake
from engine.spec.metrics import METRICS, Average

DEFAULT_RETRIES = 2
MAX_RETRIES = 10


class GateBlock(Block):
    """The fields of any gate."""

    on_failure: Literal["stop", "alert", "retrain"] = "stop"
    """What follows when the gate does not pass: stop the run, only alert, or retrain before stopping."""
    retries: Annotated[int, Field(ge=1, le=MAX_RETRIES)] | None = None
    """How often to retrain; with on_failure: retrain, 2 by default."""

    @model_validator(mode="before")
    @classmethod
    def _retries_belong_to_retrain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        retries = data.get("retries")
        if data.get("on_failure", "stop") == "retrain":
            return {**data, "retries": DEFAULT_RETRIES if retries is None else retries}
        if retries is not None:
            raise mistake("retries applies to on_failure: retrain only", "Add it, or take retries out.")
        return data

    @property
    def binding(self) -> bool:
        """Whether its verdict decides."""
        return self.on_failure != "alert"


def check_average(metric: str, average: Average | None) -> None:
    """Raise a mistake for a way of averaging that the metric does not have."""
    options = METRICS[metric].averages
    if average is not None and average not in options:
        remedy = f"Its options: {', '.join(options)}." if options else "Take average out."
        raise mistake(f'{metric} has no average "{average}"', remedy)
