"""The stored model may not be larger than so much: `{model_size: 50MB}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.figure import judge_figure
from engine.gates.result import GateResult
from engine.spec.fields import Bytes


class Block(GateBlock):
    """`validation: {model_size}`, in bytes once read."""

    model_size: Bytes
    """The most that the model's files may take together."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    remedy = "Train a smaller model, such as fewer or shallower trees, or allow more."
    return judge_figure(
        "model size", found, float(block.model_size), side="max", remedy=remedy, show=_size, show_limit=_size
    )


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"
