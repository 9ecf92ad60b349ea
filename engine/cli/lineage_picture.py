"""The lineage of a release as a picture: where its data and code came from, the steps, parents, the release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.cli.picture import Picture
from engine.cli.words import short_digest

COLORS = {
    "outside": ("#eeeeee", "#777777", "from outside"),
    "here": ("#d9f2e3", "#2e8b57", "worked out in its run"),
    "before": ("#dbeafe", "#3b76c4", "worked out before"),
    "release": ("#fff3cd", "#b58900", "release"),
}


def lineage_picture(record: Mapping[str, Any]) -> Picture:
    """Boxes and arrows of a release's record."""
    release = record["release"]
    title = f"{release['model']}@{release['version']}"
    kinds: dict[str, str] = {}
    links: list[tuple[str, str]] = []
    steps = {step["step"]: step for step in record["steps"]}
    for name, step in steps.items():
        kinds[name] = "here" if step["run_id"] == release["run_id"] else "before"
        for source in step["reads"].values():
            upstream = source.partition(".")[0] if source.partition(".")[0] in steps else _outside(source, record)
            if upstream not in steps:
                kinds.setdefault(upstream, "outside")
            links.append((upstream, name))
    for parent in record["parents"]:
        kinds[parent["release"]] = "release"
        links.append((parent["release"], title))
    kinds[title] = "release"
    links += [(name, title) for name in ("register",) if name in steps]
    names = sorted(kinds, key=lambda name: (kinds[name] != "outside", name == title))
    return Picture(title, names, list(dict.fromkeys(links)), kinds, COLORS)


def _outside(source: str, record: Mapping[str, Any]) -> str:
    """What an observed input is called."""
    kind, _, name = source.partition(":")
    if kind != "data":
        commit = record["code"]["commit"]
        return f"code ({commit[:8]})" if kind == "code" and commit else name or source
    wanted = record["data"]["source"]
    text = wanted if isinstance(wanted, str) else "a query" if wanted else record["data"]["name"] or "data"
    return text if len(text) <= 40 else f"data {short_digest(record['data']['digest'] or '')}"
