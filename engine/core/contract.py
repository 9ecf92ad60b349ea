"""What a data contract found in a table: one finding for each check, and the verdict of all.

Pure. A check that looked at nothing is `inconclusive`, and a contract without findings proves nothing: neither passes.
Rows count from 1, without the header; shares are fractions 0–1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.core.verdict import Verdict, worst

FORMAT = 1
MOST_EXAMPLES = 5
_LONGEST = 40  # characters of a value that is shown
MASKED = "(personal)"


@dataclass(frozen=True)
class Example:
    """A row that violates a check, and its value as it stands in the data; None where only the row is told."""

    row: int
    value: str | None = None

    def __str__(self) -> str:
        return f"row {self.row:,}" if self.value is None else f"row {self.row:,}: {self.value}"


@dataclass(frozen=True)
class Finding:
    """One check. `column` is empty for one of the whole table; `looked`: values or rows that were looked at."""

    check: str
    column: str
    verdict: Verdict
    text: str
    violations: int = 0
    looked: int = 0
    examples: tuple[Example, ...] = ()

    @property
    def name(self) -> str:
        """`column.check`, or the check alone."""
        return f"{self.column}.{self.check}" if self.column else self.check


@dataclass(frozen=True)
class ContractReport:
    """All findings over `rows` rows, in the order of the contract."""

    rows: int
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all; `inconclusive` if there are none."""
        return worst(finding.verdict for finding in self.findings)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings that did not pass."""
        return tuple(finding for finding in self.findings if finding.verdict is not Verdict.PASS)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        findings = [asdict(finding) | {"verdict": finding.verdict.value} for finding in self.findings]
        return {"format_version": FORMAT, "rows": self.rows, "verdict": self.verdict.value, "findings": findings}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> ContractReport:
        """From what `to_json` gave. Raises ValueError for another version of the format."""
        if document.get("format_version") != FORMAT:
            raise ValueError(f"a contract's report of format {document.get('format_version')!r} cannot be read")
        return ContractReport(
            document["rows"],
            tuple(
                Finding(
                    **{
                        **each,
                        "verdict": Verdict(each["verdict"]),
                        "examples": tuple(Example(**example) for example in each["examples"]),
                    }
                )
                for each in document["findings"]
            ),
        )


def of_values(
    check: str,
    column: str,
    violations: int,
    looked: int,
    what: str,
    limit: float = 0.0,
    examples: Sequence[Example] = (),
    unit: str = "value",
    all_may_lack: bool = False,
) -> Finding:
    """A check of every value or row. `what` says what is wrong with them: "not between 18 and 100".

    `limit`: the share that may violate it; `all_may_lack`: the contract says that there may be no value at all.
    """
    place = f"{column}: " if column else ""
    if not looked:
        verdict = Verdict.PASS if all_may_lack else Verdict.INCONCLUSIVE
        return Finding(check, column, verdict, f"{place}no {unit} to look at for {check}")
    share = violations / looked
    if not violations:
        return Finding(check, column, Verdict.PASS, f"{place}{check} holds for {looked:,} {unit}s", 0, looked)
    passes = share <= limit
    text = f"{place}{violations:,} of {looked:,} {unit}s ({shown_share(share)}) {what}"
    if limit:
        text += f", {shown_share(limit)} may"
    if examples:
        text += f" ({'; '.join(map(str, examples))}{'; …' if violations > len(examples) else ''})"
    verdict = Verdict.PASS if passes else Verdict.FAIL
    return Finding(check, column, verdict, text, violations, looked, tuple(examples))


def of_figure(
    check: str, column: str, value: float | None, low: float | None, high: float | None, what: str, looked: int
) -> Finding:
    """A check of one figure of a column or table: `what` names it, None is undefined."""
    place = f"{column}: " if column else ""
    if value is None:
        return Finding(check, column, Verdict.INCONCLUSIVE, f"{place}{what} is undefined: there is no value", 0, looked)
    said = f"{place}{what} is {_number(value)}"
    if low is not None and value < low:
        return Finding(check, column, Verdict.FAIL, f"{said}, at least {_number(low)} expected", 1, looked)
    if high is not None and value > high:
        return Finding(check, column, Verdict.FAIL, f"{said}, at most {_number(high)} expected", 1, looked)
    return Finding(check, column, Verdict.PASS, said, 0, looked)


def range_text(low: Any, high: Any) -> str:
    """`between 18 and 100`, `at least 18`, `at most 100`."""
    if high is None:
        return f"at least {_number(low)}"
    if low is None:
        return f"at most {_number(high)}"
    return f"between {_number(low)} and {_number(high)}"


def listed(values: Iterable[Any], most: int = 5) -> str:
    """The first values of a list, as they stand in the contract."""
    plain = [shown(value) for value in values]
    more = f" and {len(plain) - most} more" if len(plain) > most else ""
    return ", ".join(plain[:most]) + more


def shown(value: Any) -> str:
    """A value short enough for a message, free of control characters; blank ones are named."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text.strip():
        return f"blank {text!r}"
    text = "".join(c if c.isprintable() else "�" for c in text)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{text!r}" if text != text.strip() else text


def shown_share(share: float) -> str:
    """A percentage that is 0 % or 100 % only if the share is."""
    for digits in (0, 1, 2, 4):
        text = f"{share * 100:.{digits}f}"
        if (digits >= 1 or share in (0.0, 1.0) or share * 100 == round(share * 100)) and not (
            (float(text) == 0 and share > 0) or (float(text) == 100 and share < 1)
        ):
            return f"{text}%"
    return "under 0.0001%" if share < 0.5 else "over 99.9999%"


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:g}" if abs(value) >= 1e-4 else f"{value}"
