"""A model's graph as lines of text, and as a Mermaid flow chart, which GitHub draws. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

from engine.app.planning import PlannedModel
from engine.cli.plan_text import symbol
from engine.cli.reasons import kind_of
from engine.cli.words import table
from engine.core.graph import FromStep, Observed, Step

_CLASSES = {
    "run": "fill:#fff3cd,stroke:#b58900,color:#333",
    "reuse": "fill:#d9f2e3,stroke:#2e8b57,color:#333",
    "conditional": "fill:#dbeafe,stroke:#3b76c4,color:#333",
    "wait": "fill:#f8d7da,stroke:#b02a37,color:#333",
}


def edges(steps: Iterable[Step]) -> list[tuple[str, str, str]]:
    """`(from, to, label)`; the label names the contents that pass, and is empty for mere order."""
    found: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        for source in step.inputs.values():
            if isinstance(source, FromStep):
                found.setdefault((source.step, step.name), []).append(source.output)
        for name in step.upstream:
            if name == step.gate or name in step.after:
                found.setdefault((name, step.name), [])
    return [(start, end, ", ".join(dict.fromkeys(labels))) for (start, end), labels in found.items()]


def observed(step: Step) -> list[str]:
    """What the step reads from outside the graph."""
    return [source.key for source in step.inputs.values() if isinstance(source, Observed)]


def render_text(model: PlannedModel) -> str:
    """One line for each step: its mark in the plan, its name, what it reads, what it waits for."""
    marks = {action.step: symbol(action) for action in model.plan.actions}
    rows = [(marks.get(step.name, " "), step.name, _reads(step)) for step in model.graph.steps]
    return "\n".join([click.style(model.plan.name, bold=True), *(f"  {line}".rstrip() for line in table(rows, gap=2))])


def render_mermaid(model: PlannedModel) -> str:
    """A flow chart; steps have the colours of what the plan does with them."""
    kinds: Mapping[str, str] = {action.step: kind_of(action) for action in model.plan.actions}
    ids = {step.name: f"s{number}" for number, step in enumerate(model.graph.steps)}
    lines = ["flowchart LR"]
    lines += [f'  {ids[step.name]}["{step.name}"]:::{kinds.get(step.name, "reuse")}' for step in model.graph.steps]
    gates = {(step.gate, step.name) for step in model.graph.steps if step.gate}
    for start, end, label in edges(model.graph.steps):
        text = "if pass" if (start, end) in gates else label
        arrow = f"-->|{text}|" if text else "-.->"
        lines.append(f"  {ids[start]} {arrow} {ids[end]}")
    lines += [f"  classDef {name} {style}" for name, style in _CLASSES.items()]
    return "\n".join(lines)


def _reads(step: Step) -> str:
    reads = [f"{source.step}.{source.output}" for source in step.inputs.values() if isinstance(source, FromStep)]
    parts = [", ".join([*reads, *observed(step)])]
    if step.after:
        parts.append(f"after {', '.join(step.after)}")
    if step.gate:
        parts.append(f"if {step.gate} passes")
    told = "; ".join(part for part in parts if part)
    return f"← {told}" if told else ""
