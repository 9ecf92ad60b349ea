"""Data and contracts as text and as JSON: a proposal, a report, what differs between two snapshots."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from engine.app.contracts import Difference, Proposal
from engine.cli.outcome import gate_rows
from engine.core.contract import ContractReport


def proposal_text(found: Proposal, name: str) -> str:
    """YAML to be pasted under `model_spec`, a line for each column."""
    rows, report = len(found.contract["columns"]), found.report
    checks = len(report.findings)
    passed = checks - len(report.broken)
    lines = [
        f"# Proposed from {_line(name)}: {report.rows:,} rows, {rows} columns; {passed} of {checks} checks pass.",
        "# Paste it under model_spec, and make it say what you know of the data.",
        "data:",
        "  expect:",
    ]
    for key, value in found.contract.items():
        if key != "columns":
            lines.append(f"    {key}: {_flow(value)}")
    lines.append("    columns:")
    lines += [f"      {_flow(column)}: {_flow(rules)}" for column, rules in found.contract["columns"].items()]
    return "\n".join(lines) + "\n"


def proposal_document(found: Proposal) -> dict[str, Any]:
    """The same as plain values, with what was seen of each column."""
    return {
        "rows": found.profile.rows,
        "expect": found.contract,
        "verdict": found.report.verdict.value,
        "columns": [
            {key: value for key, value in asdict(column).items() if key != "typed"} for column in found.profile.columns
        ],
    }


def report_text(report: ContractReport) -> str:
    """What did not pass, one line each, and a summary."""
    broken = [{"verdict": found.verdict.value, "text": found.text} for found in report.broken]
    count = len(report.findings)
    passed = count - len(broken)
    summary = f"{report.rows:,} rows: {passed} of {count} checks passed"
    return "\n".join([*gate_rows(broken), click.style(summary, bold=True)])


def difference_text(found: Difference, most: int) -> str:
    """Rows that came, went and stayed, then what changed in the columns."""
    if found.is_empty:
        return f"No difference: the same {found.rows[0]:,} rows."
    rows = (
        f"rows  {found.rows[0]:,} → {found.rows[1]:,}: {found.shared:,} stayed, {found.new:,} new, {found.gone:,} gone"
    )
    changes = [change for change in found.changes if change.column or change.what != "rows"]
    lines = [str(change) for change in changes[:most]]
    more = [f"and {len(changes) - most} more: --json has all"] if len(changes) > most else []
    return "\n".join([click.style(rows, bold=True), *lines, *more])


def difference_document(found: Difference) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "before": found.before,
        "after": found.after,
        "rows": {"before": found.rows[0], "after": found.rows[1]},
        "shared": found.shared,
        "gone": found.gone,
        "new": found.new,
        "changes": [asdict(change) for change in found.changes],
    }


def _flow(value: Any) -> str:
    """On one line, quoted so that YAML 1.1 and 1.2 read the same."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return text.removesuffix("...\n").rstrip("\n")


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)
