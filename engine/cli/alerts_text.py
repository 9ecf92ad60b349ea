"""What `engine alerts` prints. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.tables import render_table
from engine.cli.words import when

if TYPE_CHECKING:
    from engine.app.inspecting import Alerts


def alerts_text(found: Alerts) -> str:
    """The alerts, then what each receiver was told."""
    if not found.alerts and not found.told:
        return "Nothing is wrong, and nothing was."
    parts = []
    if found.alerts:
        rows = [
            (
                each.alert.model,
                each.status,
                each.alert.name,
                each.alert.severity,
                when(each.fired_at),
                when(each.resolved_at) if each.resolved_at else "",
                each.alert.summary,
            )
            for each in found.alerts
        ]
        parts.append(render_table(("model", "status", "alert", "severity", "since", "until", "what"), rows))
    if found.told:
        told = [
            (
                each.model,
                each.receiver + (f" ({each.group})" if each.group else ""),
                str(each.sequence),
                when(each.sent_at) if each.sent_at else "never",
                f"{each.failures} failures in a row: {each.error}" if each.failures else "",
            )
            for each in found.told
        ]
        parts.append(render_table(("model", "receiver", "notices", "last", ""), told))
    return "\n\n".join(parts)
