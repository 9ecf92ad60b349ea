"""A model's graph as a picture: steps in layers from left to right, in the colours of what a plan does with them.

All coordinates are inches. An arrow to the next layer is straight; one that skips layers bends above or below the
steps between, and is paler. The same graph gives the same SVG, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.app.planning import PlannedModel
from engine.cli.files import refusals_told
from engine.cli.graph_text import edges
from engine.cli.reasons import kind_of

COLORS = {
    "run": ("#fff3cd", "#b58900", "to run"),
    "conditional": ("#dbeafe", "#3b76c4", "if its gate passes"),
    "reuse": ("#d9f2e3", "#2e8b57", "up to date"),
    "wait": ("#f8d7da", "#b02a37", "waits"),
}
INK, PALE = "#444444", "#aaaaaa"
BOX_HEIGHT, ROW, GAP = 0.42, 0.85, 0.55
MARGIN = 0.3
HEAD, FOOT = 0.55, 0.5  # for the title and the legend


@dataclass(frozen=True)
class Picture:
    """What is drawn: names in an order, arrows between them, the kind of each.

    `colors` gives each kind a fill, a border and a word for the legend.
    """

    title: str
    names: Sequence[str]
    links: Sequence[tuple[str, str]]
    kinds: Mapping[str, str]
    colors: Mapping[str, tuple[str, str, str]]


@dataclass(frozen=True)
class _Box:
    """A step: its middle and its width."""

    x: float
    y: float
    width: float
    layer: int


def picture_of(model: PlannedModel) -> Picture:
    """A model's graph in the colours of its plan."""
    return Picture(
        model.plan.name,
        [step.name for step in model.graph.steps],
        [(start, end) for start, end, _ in edges(model.graph.steps)],
        {action.step: kind_of(action) for action in model.plan.actions},
        COLORS,
    )


def draw(picture: Picture, path: Path, form: str) -> None:
    """Write the picture, `svg` or `png`. Raises UsageError for a place that cannot be written."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "engine", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = _figure(picture)
        with refusals_told(path):
            figure.savefig(path, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)


def _figure(picture: Picture) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    boxes = _boxes(list(picture.names), list(picture.links))
    bends = {(start, end): _bend(boxes[start], boxes[end]) for start, end in picture.links}
    top = max([box.y for box in boxes.values()] + [boxes[s].y + bend for (s, _), bend in bends.items()]) + BOX_HEIGHT
    bottom = min(box.y for box in boxes.values()) - BOX_HEIGHT
    right = max(max(box.x + box.width / 2 for box in boxes.values()) + MARGIN, 4.0)
    width, height = right, top - bottom + HEAD + FOOT
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(bottom - FOOT, top + HEAD)
    axes.axis("off")
    for (start, end), bend in bends.items():
        _arrow(axes, boxes[start], boxes[end], bend)
    kinds, colors = picture.kinds, picture.colors
    for name, box in boxes.items():
        _step(axes, name, box, colors[kinds.get(name, "reuse")])
    axes.text(MARGIN, top + HEAD / 2, picture.title, fontsize=13, fontweight="bold", va="center", color=INK)
    _legend(axes, [colors[kind] for kind in colors if kind in kinds.values()], bottom - FOOT / 2)
    return figure


def _boxes(names: list[str], links: list[tuple[str, str]]) -> Mapping[str, _Box]:
    """Layer by layer; the steps of one layer are spread around the middle line."""
    import networkx as nx

    graph = nx.DiGraph(links)
    graph.add_nodes_from(names)
    boxes: dict[str, _Box] = {}
    left = MARGIN
    for number, found in enumerate(nx.topological_generations(graph)):
        layer = sorted(found, key=names.index)
        width = max(0.35 + 0.095 * len(name) for name in layer)
        for row, name in enumerate(layer):
            boxes[name] = _Box(left + width / 2, ((len(layer) - 1) / 2 - row) * ROW, width, number)
        left += width + GAP
    return boxes


def _bend(start: _Box, end: _Box) -> float:
    """How far above its ends an arrow goes: nothing to the next layer, more the more layers it skips."""
    skipped = end.layer - start.layer - 1
    return 0.0 if skipped < 1 else 0.35 + 0.2 * skipped


def _arrow(axes: Any, start: _Box, end: _Box, bend: float) -> None:
    from matplotlib.patches import FancyArrowPatch

    if not bend:
        ends = (start.x + start.width / 2 + 0.03, start.y), (end.x - end.width / 2 - 0.03, end.y)
        style, color, line = "arc3", INK, 1.4
    else:
        ends = (start.x + 0.08, start.y + BOX_HEIGHT / 2 + 0.02), (end.x - 0.08, end.y + BOX_HEIGHT / 2 + 0.02)
        # A quadratic curve rises to half of what its control point does.
        style, color, line = f"arc3,rad={-2 * (bend - BOX_HEIGHT / 2) / (end.x - start.x):.4f}", PALE, 1.1
    axes.add_patch(
        FancyArrowPatch(
            *ends,
            connectionstyle=style,
            arrowstyle="-|>",
            mutation_scale=12,
            color=color,
            linewidth=line,
            shrinkA=0,
            shrinkB=0,
            zorder=1,
        )
    )


def _step(axes: Any, name: str, box: _Box, color: tuple[str, str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, border, _ = color
    corner = (box.x - box.width / 2 + 0.08, box.y - BOX_HEIGHT / 2 + 0.08)
    shape = FancyBboxPatch(
        corner,
        box.width - 0.16,
        BOX_HEIGHT - 0.16,
        boxstyle="round,pad=0.08",
        facecolor=fill,
        edgecolor=border,
        linewidth=1.3,
        zorder=2,
    )
    axes.add_patch(shape)
    axes.text(box.x, box.y - 0.01, name, ha="center", va="center", fontsize=10, color="#222222", zorder=3)


def _legend(axes: Any, colors: list[tuple[str, str, str]], y: float) -> None:
    from matplotlib.patches import Rectangle

    x = MARGIN
    for fill, border, text in colors:
        axes.add_patch(Rectangle((x, y - 0.07), 0.14, 0.14, facecolor=fill, edgecolor=border, linewidth=1))
        axes.text(x + 0.22, y, text, va="center", fontsize=8.5, color=INK)
        x += 0.55 + 0.075 * len(text)
