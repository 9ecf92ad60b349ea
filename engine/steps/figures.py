"""Pictures of an evaluation: confusion matrix, ROC, precision–recall, calibration; for values, predictions and errors.

PNG through matplotlib's objects and the Agg canvas: no display, no global state, the same bytes for the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from engine.steps.evaluate import Answers
    from engine.steps.schema import Table

BLUE, ORANGE, GREY, INK = "#1f5fa8", "#d9822b", "#8a94a0", "#22303c"
LINES = (BLUE, ORANGE, "#3a8f5c", "#9055a2", "#c0453c", "#4aa3b8", "#7a6a4f", GREY)
SIZE, DPI = (6.0, 4.5), 110
AXES = (0.14, 0.14, 0.82, 0.76)  # left, bottom, width, height; a layout engine would draw every figure twice
MOST_CLASSES = 30  # in a confusion matrix
MOST_LINES = 8
MOST_DOTS = 3000


def draw(report: Mapping[str, Any], table: Table, answers: Answers, folder: Path) -> None:
    """Write the figures that the report's task and data allow; none for an evaluation that failed."""
    if "error" in report:
        return
    if report["task"] == "regression":
        truth = table.target.to_numpy(dtype=float)
        _save(folder / "predicted_vs_actual.png", lambda axes: _predicted(axes, truth, answers.prediction, report))
        _save(folder / "residuals.png", lambda axes: _residuals(axes, report))
        return
    if len(report["classes"]) <= MOST_CLASSES:
        _save(folder / "confusion_matrix.png", lambda axes: _confusion(axes, report))
    curves = report["curves"]
    if any(curves.get("roc") or []):
        _save(folder / "roc.png", lambda axes: _roc(axes, report))
    if curves.get("precision_recall"):
        _save(folder / "precision_recall.png", lambda axes: _precision_recall(axes, report))
    if curves.get("calibration"):
        _save(folder / "calibration.png", lambda axes: _calibration(axes, report))


def _save(path: Path, paint: Callable[[Axes], None]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes(AXES)
    axes.tick_params(colors=INK, labelsize=10)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    paint(axes)
    axes.title.set_color(INK)
    figure.savefig(path, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 3})


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11.5, loc="left", pad=10, y=1.0)  # stated, or every label is measured to place it
    axes.set_xlabel(x, fontsize=11, color=INK)
    axes.set_ylabel(y, fontsize=11, color=INK)


def _shown(report: Mapping[str, Any], metric: str) -> str:
    entry = report["metrics"].get(metric, {})
    if entry.get("value") is None:
        return ""
    interval = "" if entry["low"] is None else f" [{entry['low']:.3g}, {entry['high']:.3g}]"
    return f"{entry['value']:.3g}{interval}"


def _square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.8)


def _confusion(axes: Axes, report: Mapping[str, Any]) -> None:
    import numpy as np

    counts = np.array(report["confusion"]["counts"])
    labels = [_short(name) for name in report["confusion"]["labels"]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=45 if len(labels) > 4 else 0, ha="right" if len(labels) > 4 else "center")
    axes.set_yticks(places, labels)
    size = 12 if len(labels) <= 5 else max(5, 11 - len(labels) // 4)
    for row in places:
        for column in places:
            text = f"{counts[row, column]:,}" + (f"\n{shares[row, column]:.0%}" if len(labels) <= 6 else "")
            color = "white" if shares[row, column] > 0.5 else INK
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    axes.set_position((0.22, 0.24, 0.74, 0.66))  # room for the names of classes
    accuracy = _shown(report, "accuracy")
    _label(axes, f"Confusion matrix · accuracy {accuracy}", "predicted", "actual")


def _roc(axes: Axes, report: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    several = report["task"] == "multiclass"
    for number, curve in enumerate(report["curves"]["roc"][:MOST_LINES]):
        if curve is not None:
            label = _short(report["classes"][number]) if several else None
            color = LINES[number % len(LINES)]
            axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=color, linewidth=2, label=label)
    if several:
        axes.legend(frameon=False, fontsize=10, loc="lower right", title="each class against the rest")
    _square(axes)
    _label(axes, f"ROC · AUC {_shown(report, 'roc_auc')}", "false positive rate", "true positive rate")


def _precision_recall(axes: Axes, report: Mapping[str, Any]) -> None:
    curve = report["curves"]["precision_recall"]
    axes.plot(curve["recall"], curve["precision"], color=BLUE, linewidth=2)
    prevalence = report["baseline"].get("average_precision")
    if prevalence is not None:
        axes.axhline(prevalence, color=GREY, linewidth=1, linestyle="--", label="without features")
        axes.legend(frameon=False, fontsize=10, loc="upper right")
    _square(axes)
    title = f"Precision and recall · average precision {_shown(report, 'average_precision')}"
    _label(axes, title, f"recall of {_short(report['positive'])}", "precision")


def _calibration(axes: Axes, report: Mapping[str, Any]) -> None:
    curve = report["curves"]["calibration"]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    axes.plot(curve["predicted"], curve["observed"], color=BLUE, linewidth=2, marker="o", label="model")
    most = max(curve["rows"])
    bars = [0.15 * rows / most for rows in curve["rows"]]
    axes.bar(curve["predicted"], bars, width=0.03, color=ORANGE, alpha=0.5, label="rows")
    axes.legend(frameon=False, fontsize=10, loc="upper left")
    _square(axes)
    positive = _short(report["positive"])
    title = f"Calibration · Brier score {_shown(report, 'brier')}"
    _label(axes, title, f"predicted probability of {positive}", f"observed share of {positive}")


def _predicted(axes: Axes, truth: Any, predicted: Any, report: Mapping[str, Any]) -> None:
    import numpy as np

    kept = np.linspace(0, truth.size - 1, min(truth.size, MOST_DOTS)).astype(int)
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
    axes.scatter(truth[kept], predicted[kept], s=8, color=BLUE, alpha=0.35, linewidths=0)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.8)
    target = _short(report["target"])
    _label(axes, f"Predicted and actual · R² {_shown(report, 'r2')}", f"actual {target}", f"predicted {target}")


def _residuals(axes: Axes, report: Mapping[str, Any]) -> None:
    import numpy as np

    bars = report["curves"]["residuals"]["histogram"]
    edges = np.array(bars["edges"])
    axes.bar(edges[:-1], bars["counts"], width=np.diff(edges), align="edge", color=BLUE, alpha=0.8)
    axes.axvline(0, color=INK, linewidth=1)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.8, axis="y")
    _label(axes, f"Errors · RMSE {_shown(report, 'rmse')}", f"actual − predicted {_short(report['target'])}", "rows")


def _short(name: object) -> str:
    """A name that fits, in which nothing is taken for mathematics."""
    text = str(name).replace("$", r"\$")
    return text if len(text) <= 24 else f"{text[:23]}…"
