"""May this data be trained on at all? Holds the table against its contract, reads it and writes its profile.

With `data.expect` the outcome has a verdict, on which everything that reads the data depends: every violation at once,
found before the table is read into memory. The report of the contract is part of the profile.

Errors, all together: no rows, a column that the spec names and the table lacks, a target without two values or
with a class of one row. Said, but no error: an id that repeats, constant columns, rows without a target.
When a user's step provides the table (`data.table`), this is only its raw material: nothing is asked of its columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from engine.core.canonical import canonical_json
from engine.core.contract import ContractReport
from engine.core.verdict import Verdict
from engine.errors import StepError
from engine.ports import StepContext, StepOutcome
from engine.steps.columns import Kind
from engine.steps.table import read_table, require_column
from engine.steps.target import summary_of, task_of

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("target", "id", "timestamp", "group")
LISTED = 20  # classes that the profile and the facts name
_MOST_SHOWN = 50  # violations that people are shown; the profile has all


def run(context: StepContext) -> StepOutcome:
    """Write `profile` (profile.json) from `data`. Raises StepError with every objection."""
    settings = context.settings["data"]
    report = _held_against_contract(context)
    if report is not None and report.verdict is not Verdict.PASS:
        return _refused(context, report)
    frame, kinds = read_table(context.inputs["data"], format=settings.get("format"), missing=settings.get("missing"))
    objections: list[StepError] = []
    notes: list[str] = []
    if not len(frame):
        objections.append(StepError("the data has no rows", remedy="The file holds nothing but column names."))
    target: Mapping[str, Any] | None = None
    if not settings.get("table"):
        objections += _missing_columns(settings, list(frame.columns))
        if len(frame) and settings["target"] in frame.columns:
            stated = (context.settings.get("training") or {}).get("task")
            target, objection = _target(frame[settings["target"]], kinds[settings["target"]], stated, notes)
            objections += objection
    if objections:
        raise _joined(objections)
    columns = {name: _column(frame[name], kinds[name]) for name in frame.columns}
    notes += _notes(settings, frame, columns)
    for name in settings.get("personal") or ():
        columns[name] = {key: value for key, value in columns.get(name, {}).items() if key in ("kind", "missing")}
    profile = {"rows": len(frame), "columns": columns, "target": target, "notes": notes}
    facts = {"rows": len(frame), "columns": len(frame.columns), "target": target, "notes": notes}
    summary = f"{len(frame):,} rows, {len(frame.columns)} columns"
    verdict = None
    if report is not None:
        profile["contract"] = report.to_json()
        facts["checks"] = len(report.findings)
        summary += f", {_checks(len(report.findings))} of the contract passed"
        verdict = report.verdict
    context.outputs["profile"].write_text(canonical_json(profile), encoding="utf-8")
    return StepOutcome(facts, summary, verdict)


def _held_against_contract(context: StepContext) -> ContractReport | None:
    """What the contract says of the table; None without one. The clock tells how old the newest row is."""
    settings = context.settings["data"]
    contract = settings.get("expect")
    if contract is None:
        return None
    from engine.steps.contract import Setting, check_file

    personal = frozenset(settings.get("personal") or ())
    setting = Setting(datetime.now(timezone.utc), context.scratch, personal, settings.get("timestamp"))
    data, suite = context.inputs["data"], context.inputs.get("suite")
    return check_file(data, contract, setting, settings.get("format"), settings.get("missing"), suite)


def _refused(context: StepContext, report: ContractReport) -> StepOutcome:
    """The outcome for a table that broke its contract: a verdict, and each violation as people see it."""
    profile = {"rows": report.rows, "columns": {}, "target": None, "notes": [], "contract": report.to_json()}
    context.outputs["profile"].write_text(canonical_json(profile), encoding="utf-8")
    broken = report.broken
    gates = [
        {"verdict": found.verdict.value, "text": found.text, "binding": True, "name": found.name}
        for found in broken[:_MOST_SHOWN]
    ]
    if len(broken) > _MOST_SHOWN:
        more = f"{len(broken) - _MOST_SHOWN} more; all are in the profile of this step"
        gates.append({"verdict": report.verdict.value, "text": more, "binding": True, "name": "more"})
    facts = {"rows": report.rows, "checks": len(report.findings), "gates": gates}
    first = broken[0].text + (f"; and {len(broken) - 1} more" if len(broken) > 1 else "")
    summary = f"{len(broken)} of {_checks(len(report.findings))} of the contract not passed: {first}"
    return StepOutcome(facts, summary, report.verdict)


def _checks(count: int) -> str:
    return f"{count:,} check{'' if count == 1 else 's'}"


def _missing_columns(settings: Mapping[str, Any], columns: list[str]) -> list[StepError]:
    named = [(f"data.{role}", settings.get(role)) for role in ROLES]
    named += [("data.ignore", name) for name in settings.get("ignore") or ()]
    objections = []
    for field, name in named:
        if name is None:
            continue
        try:
            require_column(name, field, columns)
        except StepError as error:
            objections.append(error)
    return objections


def _target(
    column: pd.Series[Any], kind: Kind, stated: str | None, notes: list[str]
) -> tuple[Mapping[str, Any] | None, list[StepError]]:
    """What there is to say of the target, or why nothing can be learned from it."""
    known = column.dropna()
    try:
        task = task_of(column, kind, stated)
    except StepError as error:
        return None, [error]
    gone = len(column) - len(known)
    if gone:
        notes.append(f"{gone:,} rows have no {column.name} and will be left out")
    summary = summary_of(known, task)
    counts = summary.get("classes", {})
    single = [name for name, count in counts.items() if count < 2]
    if single:
        more = f" and {len(single) - 3} more" if len(single) > 3 else ""
        remedy = "Every class needs two rows, one to learn from and one to be tested on."
        if kind == "numeric":
            remedy += " If the target is a quantity, say training.task: regression."
        shown = ", ".join(single[:3])
        return None, [StepError(f"the target {column.name} has a single row of class {shown}{more}", remedy=remedy)]
    if len(counts) > LISTED:
        largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:LISTED]
        summary = {"classes": dict(sorted(largest)), "more_classes": len(counts) - LISTED}
    return {"name": str(column.name), "task": task, "missing": gone, **summary}, []


def _column(column: pd.Series[Any], kind: Kind) -> dict[str, Any]:
    """One column's profile; numbers as numbers, dates in ISO 8601."""
    known = column.dropna()
    profile: dict[str, Any] = {
        "kind": kind,
        "missing": round(1 - len(known) / len(column), 6),
        "distinct": int(known.nunique()),
    }
    if len(known) and kind == "numeric":
        profile |= {"min": known.min().item(), "max": known.max().item(), "mean": round(float(known.mean()), 6)}
    elif len(known) and kind == "date":
        profile |= {"min": known.min().isoformat(), "max": known.max().isoformat()}
    elif profile["distinct"] <= LISTED:
        profile["values"] = {str(k): int(n) for k, n in sorted(known.value_counts().items(), key=lambda i: str(i[0]))}
    return profile


def _notes(settings: Mapping[str, Any], frame: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    notes = []
    identity = settings.get("id")
    if identity is not None and identity in columns:
        repeated = int(frame[identity].duplicated().sum())
        if repeated:
            notes.append(f"the id {identity} is not unique: {repeated:,} rows repeat one")
        if columns[identity]["missing"]:
            notes.append(f"{int(frame[identity].isna().sum()):,} rows have no id {identity}")
    for name, profile in columns.items():
        if profile["distinct"] < 2:
            notes.append(f"column {name} {'is constant' if profile['distinct'] else 'has no values'}")
    # Copies agree in every column: of the one with most values, only what repeats has to be compared.
    telling = max(columns, key=lambda name: int(columns[name]["distinct"]))
    repeating = frame[frame[telling].duplicated(keep=False)]
    duplicates = int(repeating.duplicated().sum())
    if duplicates:
        notes.append(f"{duplicates:,} rows are exact copies of another")
    return notes


def _joined(objections: list[StepError]) -> StepError:
    if len(objections) == 1:
        return objections[0]
    return StepError(
        "\n".join(f"{o.message}. {o.remedy}".rstrip() for o in objections),
        remedy="Mend the spec or the data, then run the command again.",
    )
