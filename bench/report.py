"""What a benchmark found: measured times, ratios beside their targets, and notes; as tables or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.measure import Measured


@dataclass(frozen=True)
class Ratio:
    """A figure and the most that it may be. `unit` is × (a ratio), s or ms; without a target it only informs."""

    what: str
    value: float
    most: float | None = None
    unit: str = "×"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.most is None else self.value <= self.most


@dataclass
class Report:
    """One benchmark's findings."""

    name: str
    measured: list[Measured] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, measured: Iterable[Measured]) -> None:
        """Take measured commands in."""
        self.measured += measured

    def compare(self, what: str, value: float, most: float | None = None, unit: str = "×") -> None:
        """Take a figure in, beside its target."""
        self.ratios.append(Ratio(what, value, most, unit))


def as_json(reports: Sequence[Report], machine: dict[str, Any]) -> dict[str, Any]:
    """One document of plain values: seconds, MiB, ratios."""
    return {
        "machine": machine,
        "benchmarks": [
            {
                "name": report.name,
                "measured": [
                    {
                        "name": m.name,
                        "seconds": round(m.seconds, 5),
                        "fastest": round(m.spread[0], 5),
                        "slowest": round(m.spread[1], 5),
                        "cpu_seconds": round(m.cpu_seconds, 5),
                        "runs": len(m.samples),
                        "peak_mib": round(m.peak_mib, 1),
                    }
                    for m in report.measured
                ],
                "ratios": [
                    {"what": r.what, "value": round(r.value, 4), "unit": r.unit, "most": r.most, "met": r.met}
                    for r in report.ratios
                ],
                "notes": report.notes,
            }
            for report in reports
        ],
    }


def show(report: Report) -> None:
    """Print one benchmark's tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if report.measured:
        times = Table(title=f"{report.name}: whole-process wall time and memory", title_justify="left")
        times.add_column("command")
        for heading in ("median", "fastest – slowest", "processor", "runs", "peak memory"):
            times.add_column(heading, justify="right")
        for m in report.measured:
            low, high = m.spread
            runs, peak = str(len(m.samples)), f"{m.peak_mib:.0f} MiB"
            times.add_row(
                m.name, _seconds(m.seconds), f"{_seconds(low)} – {_seconds(high)}", _seconds(m.cpu_seconds), runs, peak
            )
        console.print(times)
    if report.ratios:
        ratios = Table(title=f"{report.name}: against its targets", title_justify="left")
        ratios.add_column("what")
        for heading in ("found", "target", ""):
            ratios.add_column(heading, justify="right")
        for r in report.ratios:
            target = "" if r.most is None else f"≤ {_figure(r.most, r.unit)}"
            verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[r.met]
            ratios.add_row(r.what, _figure(r.value, r.unit), target, verdict)
        console.print(ratios)
    for note in report.notes:
        console.print(f"  {note}")
    console.print()


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _figure(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if unit != "×" else f"{value:.2f} ×"
