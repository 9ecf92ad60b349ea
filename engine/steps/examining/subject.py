"""The candidate and its hold-out, as those who measure see them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.ports import StepContext
from engine.stats.paired import Said
from engine.steps.evaluate import load
from engine.steps.model_files import LoadedModel
from engine.steps.schema import Schema, Table, class_numbers, read_rows
from engine.steps.table import read_parquet, require_column

if TYPE_CHECKING:
    import pandas as pd

SEED = 0  # of every bootstrap: the intervals are a function of the predictions


@dataclass(frozen=True, eq=False)
class Subject:
    """`report` is the evaluation. Everything else is read when it is asked for."""

    context: StepContext
    schema: Schema
    report: Mapping[str, Any]

    @staticmethod
    def of(context: StepContext) -> Subject:
        """Whom the step is about."""
        report = json.loads(context.inputs["report"].read_text(encoding="utf-8"))
        return Subject(context, Schema.read(context.inputs["schema"]), report)

    @cached_property
    def table(self) -> Table:
        """The hold-out."""
        return read_rows(self.context.inputs["holdout"], self.schema)

    @cached_property
    def training_rows(self) -> Table:
        """The rows that it learned from."""
        return read_rows(self.context.inputs["train"], self.schema)

    @cached_property
    def truth(self) -> Any:
        """(n,) class numbers, or values."""
        if self.schema.is_regression:
            return self.table.target.to_numpy(dtype=float)
        return class_numbers(self.table.target, self.schema.classes)

    @cached_property
    def said(self) -> Said:
        """What the candidate said of the hold-out, as it was kept by `evaluate`."""
        frame = read_parquet(self.context.inputs["predictions"])
        if self.schema.is_regression:
            return Said(frame["prediction"].to_numpy(dtype=float))
        names = [f"probability_{name}" for name in self.schema.classes]
        shares = frame[names].to_numpy(dtype=float) if set(names) <= set(frame.columns) else None
        return Said(class_numbers(frame["prediction"], self.schema.classes), shares)

    @cached_property
    def model(self) -> LoadedModel:
        """The candidate itself."""
        return load(self.context)

    @property
    def classes(self) -> int:
        """How many classes there are; 0 for a regression."""
        return len(self.schema.classes)

    def column(self, name: str, field: str) -> pd.Series[Any]:
        """A column of the hold-out, a feature or not. Raises StepError for one that is not there."""
        require_column(name, field, list(self.table.frame.columns))
        return self.table.frame[name]

    def classes_only(self, gate: str) -> None:
        """Raises StepError for a regression."""
        if self.schema.is_regression:
            raise StepError(f"{gate} is about classes, and this model predicts numbers", remedy="Take the gate out.")
