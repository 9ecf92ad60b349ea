"""What single fields cannot tell: sections of a spec that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.errors import Diagnostic
from engine.spec.metrics import METRICS
from engine.spec.models import Data, ModelSpec, Training
from engine.spec.monitoring import DEFAULT_ROWS
from engine.spec.yaml_tree import Node

_ROLES = ("target", "id", "timestamp", "group")


def check_sections(
    spec: ModelSpec, gates: Sequence[dict[str, Any]], trigger: Mapping[str, Any] | None, root: Node
) -> list[Diagnostic]:
    """Every contradiction between sections; `root` is the model_spec's value."""
    data = root.fields.get("data", root)
    training = root.fields.get("training", root)
    return [
        *_columns(spec.data, data),
        *_split(spec.data, spec.training, data),
        *_recent(spec.data, data),
        *_windows(spec, trigger, root),
        *_tuning(spec.training, training),
        *_preprocessing(spec.training, training),
        *_metrics(spec, gates, root),
    ]


def _columns(data: Data, node: Node) -> Iterator[Diagnostic]:
    used: dict[str, str] = {}
    for role in _ROLES:
        column = getattr(data, role)
        if column is None:
            continue
        if column in used:
            message = f'data.{role} and data.{used[column]} are the same column "{column}"'
            yield _place(node, role).diagnostic(message, "Name two different columns, or remove one of the keys.")
        used.setdefault(column, role)
    for index, column in enumerate(data.ignore):
        if used.get(column) in ("target", "group", "timestamp"):
            items = node.fields["ignore"].items if "ignore" in node.fields else []
            place = items[index].place if index < len(items) else node.place
            yield place.diagnostic(f'data.ignore names the {used[column]} "{column}"', "Remove it from data.ignore.")


def _split(data: Data, training: Training, node: Node) -> Iterator[Diagnostic]:
    strategy = data.split.strategy
    place = _place(node.fields.get("split", node), "strategy")
    if strategy == "group" and "group" not in node.fields:
        yield place.diagnostic("data.split.strategy: group needs data.group", "Add data.group, the name of a column.")
    if data.group and strategy not in ("auto", "group"):
        message = f"data.group has no effect on a split by {strategy}"
        yield _place(node, "group").diagnostic(message, "Remove it, or write split: {strategy: group}.")
    if training.task == "regression" and strategy == "stratified":
        yield place.diagnostic("a regression cannot be split stratified", "Write strategy: random, or remove it.")
    if training.task == "regression" and data.positive is not None:
        yield _place(node, "positive").diagnostic("a regression has no positive class", "Remove data.positive.")


def _recent(data: Data, node: Node) -> Iterator[Diagnostic]:
    if data.window is not None and data.window.duration is not None and data.timestamp is None:
        place = _place(node.fields.get("window", node), "duration")
        yield place.diagnostic("data.window.duration needs data.timestamp", "Add it, or write rows: 10000 instead.")
    if data.feedback and data.group is not None:
        message = "data.feedback has no effect beside data.group: predictions do not tell their group"
        yield _place(node, "feedback").diagnostic(message, "Remove one of the two.")


def _windows(spec: ModelSpec, trigger: Mapping[str, Any] | None, root: Node) -> Iterator[Diagnostic]:
    """Predictions are cut into windows in one way; a trigger that asks for another would never get it."""
    found = list(_triggers(trigger, root.fields.get("retrain_trigger", root)))
    stated = spec.monitoring.window if spec.monitoring is not None else None
    size = stated.rows if stated is not None else None
    first = next((block["window"] for block, _ in found if block.get("window")), None)
    for block, node in found:
        own = block.get("window")
        if own and stated is not None and own != size:
            cut = f"{size:,} rows" if size else "time"
            message = f"window is {own:,} rows, but monitoring.window cuts predictions by {cut}"
            yield _place(node, "window").diagnostic(message, "Remove it here, or make the two the same.")
        elif own and own != first:
            message = f"window is {own:,} rows, but {first:,} in another trigger: all look at the same windows"
            yield _place(node, "window").diagnostic(message, "Make them the same.")
    rows = size or (first if stated is None else None) or (DEFAULT_ROWS if stated is None else None)
    for block, node in found if rows is not None else ():
        for least, what in (("min_rows", "rows"), ("min_labels", "labels")):
            if block.get(least) is not None and block[least] > rows:
                message = f"a window of {rows:,} rows never has the {block[least]:,} {what} of {least}"
                yield _place(node, least).diagnostic(message, f"Give {least}, or larger windows in monitoring.window.")


def _triggers(block: Mapping[str, Any] | None, node: Node) -> Iterator[tuple[Mapping[str, Any], Node]]:
    """The triggers of a resolved group with their nodes."""
    if block is None:
        return
    if "type" in block:
        yield block, node
    for group in ("any_of", "all_of"):
        listed = node.fields[group].items if group in node.fields else node.items
        members = block.get(group, ())
        for member, place in zip(members, listed, strict=True) if len(members) == len(listed) else ():
            yield from _triggers(member, place)


def _tuning(training: Training, node: Node) -> Iterator[Diagnostic]:
    if training.tuning is None:
        return
    if training.function or training.run:
        message = "training.tuning needs an estimator: it cannot vary a function or a command"
        yield _place(node, "tuning").diagnostic(message, "Remove tuning, or name an estimator.")
    space = node.fields.get("tuning", node).fields.get("space", node)
    for name in training.tuning.space:
        if name in training.params:
            message = f'"{name}" is both fixed in training.params and searched in training.tuning'
            yield _place(space, name).diagnostic(message, "Remove it from one of the two.")


def _preprocessing(training: Training, node: Node) -> Iterator[Diagnostic]:
    if (training.function or training.run) and "preprocessing" in node.fields:
        way = "function" if training.function else "run"
        message = f"training.preprocessing has no effect on training.{way}"
        yield _place(node, "preprocessing").diagnostic(message, "Remove it.")


def _metrics(spec: ModelSpec, gates: Sequence[dict[str, Any]], root: Node) -> Iterator[Diagnostic]:
    """A regression has other metrics than a classification; a spec cannot ask for both."""
    task = spec.training.task
    first = ""
    for name, node in _metrics_of(spec, gates, root):
        kind = "regression" if "regression" in METRICS[name].tasks else "classification"
        if task not in ("auto", kind):
            yield node.place.diagnostic(f"{name} is not a metric of a {task}", f"Choose one of: {_names(task)}.")
        elif task == "auto" and first and kind != first:
            yield node.place.diagnostic(
                f"{name} is a metric of a {kind}, and another one here of a {first}",
                f"Choose one of: {_names(first)}.",
            )
        first = first or kind


def _metrics_of(spec: ModelSpec, gates: Sequence[dict[str, Any]], root: Node) -> Iterator[tuple[str, Node]]:
    validation = root.fields.get("validation", root)
    nodes = validation.items or [validation]
    for gate, node in zip(gates, nodes, strict=False):
        for block, place in ((gate, node), (gate.get("slices") or {}, node.fields.get("slices", node))):
            if block.get("metric") in METRICS:
                yield block["metric"], place.fields.get("metric", place)
    if spec.training.tuning and spec.training.tuning.metric:
        tuning = root.fields["training"].fields["tuning"]
        yield spec.training.tuning.metric, tuning.fields.get("metric", tuning)
    if spec.monitoring and spec.monitoring.metrics:
        listed = root.fields["monitoring"].fields["metrics"].items
        for watch, node in zip(spec.monitoring.metrics, listed, strict=False):
            yield watch.metric, node.fields.get("metric", node)


def _names(task: str) -> str:
    return ", ".join(name for name, m in METRICS.items() if ("regression" in m.tasks) == (task == "regression"))


def _place(node: Node, key: str) -> Any:
    return node.fields[key].place if key in node.fields else node.name_place
