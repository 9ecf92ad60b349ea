"""A condition over several columns of a row, as `spec.expressions.check_condition` allows it, for whole batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from engine.core.contract import MASKED, MOST_EXAMPLES, Example, Finding, of_values, shown
from engine.core.verdict import Verdict
from engine.spec.expressions import check_condition
from engine.steps.values import Values


class RowCondition:
    """One of a contract's `checks`.

    A column is one of numbers if the contract says so, or else if all values of the first batch are; then a value that
    is no number violates the condition. Dates that the contract declares are compared as ISO 8601, all else as text.
    """

    def __init__(self, check: Mapping[str, Any], declared: Mapping[str, str | None], personal: Collection[str]) -> None:
        self.reads = self.columns_of(check["expression"])
        self._check = check
        self._declared = declared
        self._personal = personal
        self._kinds: dict[str, str] = {}
        self._looked = 0
        self._violations = 0
        self._examples: list[Example] = []
        self._error = ""

    @staticmethod
    def columns_of(expression: str) -> tuple[str, ...]:
        """What it reads, sorted."""
        return check_condition(expression)

    def take(self, batch: Mapping[str, Values], rows: int, before: int) -> None:
        """Look at a batch of `rows` rows, `before` rows having come before."""
        import numpy as np

        from engine.stats.expression import holds

        if self._error or any(name not in batch for name in self.reads):
            return
        columns = {}
        wrong = np.zeros(rows, dtype=bool)
        complete = np.ones(rows, dtype=bool)
        for name in self.reads:
            values = batch[name]
            complete &= values.present.to_numpy(zero_copy_only=False)
            columns[name], unfit = self._column(name, values)
            wrong |= unfit
        try:
            held = holds(self._check["expression"], columns)
        except (TypeError, ValueError):
            self._error = (
                f"the columns of {self._check['expression']} cannot be combined so: numbers and texts are mixed"
            )
            return
        broken = complete & (wrong | ~held)
        self._looked += int(complete.sum())
        self._violations += int(broken.sum())
        for row in np.flatnonzero(broken)[: max(0, MOST_EXAMPLES - len(self._examples))].tolist():
            told = ", ".join(f"{name} {self._shown(name, batch[name], row)}" for name in self.reads)
            self._examples.append(Example(before + row + 1, told))

    def findings(self, rows: int) -> Iterator[Finding]:
        """What was found in all."""
        name, expression = self._check["name"], self._check["expression"]
        if self._error:
            yield Finding(name, "", Verdict.ERROR, f"{name}: {self._error}", 0, rows)
            return
        yield of_values(
            name,
            "",
            self._violations,
            self._looked,
            f"violating {name}: {expression}",
            self._check.get("tolerance", 0.0),
            self._examples,
            "row",
        )

    def _shown(self, name: str, values: Values, row: int) -> str:
        return MASKED if name in self._personal else shown(values.raw[row].as_py())

    def _column(self, name: str, values: Values) -> tuple[Any, Any]:
        """A masked array, and where a value is none of the column's kind. (n,), (n,)."""
        import numpy as np
        import pyarrow.compute as pc

        kind = self._kinds.get(name) or self._kind(name, values)
        if values.count:
            self._kinds[name] = kind
        if kind == "number":
            found = values.numbers
            data = found.fill_null(0.0).to_numpy(zero_copy_only=False)
        elif kind == "date":
            found = values.moments
            data = np.array(pc.strftime(found, format="%Y-%m-%dT%H:%M:%S").fill_null("").to_pylist(), dtype=object)
        elif kind == "truth":
            found = values.raw
            data = found.fill_null(False).to_numpy(zero_copy_only=False)
        else:
            found = values.texts
            data = np.array(found.fill_null("").to_pylist(), dtype=object)
        mask = pc.is_null(found).to_numpy(zero_copy_only=False)
        unfit = mask & values.present.to_numpy(zero_copy_only=False)
        return np.ma.MaskedArray(data, mask=mask), unfit  # type: ignore[no-untyped-call]

    def _kind(self, name: str, values: Values) -> str:
        import pyarrow as pa
        import pyarrow.compute as pc

        stated = self._declared.get(name)
        if stated in ("integer", "number"):
            return "number"
        if stated == "date" or pa.types.is_temporal(values.raw.type):
            return "date"
        if pa.types.is_boolean(values.raw.type):
            return "truth"
        return "number" if pc.count(values.numbers).as_py() == values.count and stated is None else "text"
