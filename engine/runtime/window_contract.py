"""The data contract held against one closed window: what the live release was asked about, as far as it is features.

Nothing is asked of the number of rows, their age and their repeats, which are no property of traffic. Values are those
of the prediction log; a text may be a number, as in CSV.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from engine.core.contract import ContractReport
from engine.core.monitoring import ContractLimits
from engine.ports import LoggedPrediction

_SHOWN = 3  # violations named in a line


def held_against(
    limits: ContractLimits, features: Sequence[str], rows: Sequence[LoggedPrediction], now: datetime
) -> ContractReport | None:
    """What the contract says of the rows; None where it asks nothing of the release's features."""
    from engine.steps.contract import Checker, Setting
    from engine.steps.values import Values, token_array

    setting = Setting(now, Path(gettempdir()), frozenset(limits.personal), live=True)
    checker = Checker(limits.contract, list(features), setting)
    if not checker.reads:
        return None
    tokens = token_array(list(limits.missing or ()), typed=False)
    columns = {name: _array([(row.features or {}).get(name) for row in rows]) for name in checker.reads}
    checker.take({name: Values(values, tokens, typed=False) for name, values in columns.items()}, len(rows))
    return checker.report()


def line_of(report: ContractReport) -> str:
    """What does not hold, in one line."""
    broken = report.broken
    if not broken:
        return f"{len(report.findings)} checks of the data contract hold"
    more = f"; and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    return "data contract: " + "; ".join(found.text for found in broken[:_SHOWN]) + more


def _array(values: Sequence[Any]) -> Any:
    """A column of JSON values; of mixed ones as text."""
    import pyarrow as pa

    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
