"""What differs between two releases, and what came of making one again, as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.cli.tables import render_fields, render_table
from engine.cli.words import short_digest, value
from engine.core.release_record import Change, Comparison, MetricChange

if TYPE_CHECKING:
    from engine.app.reproducing import Reproduction


def comparison_text(before: Mapping[str, Any], after: Mapping[str, Any], found: Comparison) -> str:
    """Section by section what differs; a section without a difference says so."""
    title = " → ".join(f"{each['release']['model']}@{each['release']['version']}" for each in (before, after))
    parts = [click.style(title, bold=True)]
    for name in ("data", "code", "parameters", "environment"):
        changes: Sequence[Change] = getattr(found, name)
        rows = [(change.name, f"{value(change.before)} → {value(change.after)}") for change in changes]
        parts.append(render_fields(name.capitalize(), rows or [("the same", "")]))
    if found.metrics:
        parts.append(_metrics("metric", found.metrics))
        same = "Both were measured on the same rows." if found.same_holdout else _OTHER_ROWS
        parts.append(same)
    if found.slices:
        parts.append(_metrics("slice", found.slices))
    return "\n\n".join(parts)


_OTHER_ROWS = "They were measured on different rows: the difference is of the models and of the rows."


def reproduction_text(found: Reproduction) -> str:
    """Whether metrics and model agree, and what differs where they do not."""
    word = click.style("agrees", fg="green") if found.agrees else click.style("differs", fg="red", bold=True)
    rows = [
        ("code", found.code),
        ("metrics", "the same values and intervals" if found.same_metrics else "not the same"),
        ("model", "the same bytes" if found.same_model else "not the same bytes"),
    ]
    rows += [(each.name, f"{value(each.before)} → {value(each.after)}") for each in found.environment]
    parts = [f"{click.style(found.release, bold=True)} made again: {word}", render_fields("From", rows)]
    outputs = [
        (
            each.step,
            each.output,
            short_digest(each.recorded),
            short_digest(each.now),
            "same" if each.agrees else "differs",
        )
        for each in found.outputs
    ]
    parts.append(render_table(("step", "output", "recorded", "now", ""), outputs))
    differing = [each for each in found.metrics if dict(each.before) != dict(each.after)]
    if differing:
        parts.append(_metrics("metric", differing))
    return "\n\n".join(parts)


def _metrics(what: str, changes: Sequence[MetricChange]) -> str:
    rows = [
        (
            each.name,
            _measured(each.before),
            _measured(each.after),
            "" if each.difference is None else f"{each.difference:+.4g}",
        )
        for each in changes
    ]
    return render_table((what, "before", "after", "difference"), rows)


def _measured(metric: Mapping[str, Any]) -> str:
    if metric.get("value") is None:
        return "undefined" if metric else ""
    low, high = metric.get("low"), metric.get("high")
    return f"{metric['value']:.4g}" + ("" if low is None or high is None else f" [{low:.4g}, {high:.4g}]")
