"""What single fields cannot tell: sections of a spec that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.errors import Diagnostic
from engine.spec.metrics import METRICS
from engine.spec.models import Data, ModelSpec, Training
from engine.spec.yaml_tree import Node

_ROLES = ("target", "id", "timestamp", "group")


def check_sections(spec: ModelSpec, gates: Sequence[dict[str, Any]], root: Node) -> list[Diagnostic]:
    """Every contradiction between sections; `root` is the model_spec's value."""
    data = root.fields.get("data", root)
    training = root.fields.get("training", root)
    return [
        *_columns(spec.data, data),
        *_split(spec.data, spec.training, data),
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
        if gate.get("metric") in METRICS:
            yield gate["metric"], node.fields.get("metric", node)
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
