"""A model's predictions → checked answers → the JSON of each request, with the scores that the analysis counts.

A prediction that is missing, not finite or of no known class is a failure of the model, never an answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from engine.core.evidence import BINS
from engine.serving.payloads import Rows
from engine.serving.signature import Signature
from engine.serving.wire import MLFLOW, OPEN_INFERENCE, Reply, Request


class UnusableError(Exception):
    """The model gave something that is no answer."""


@dataclass(frozen=True)
class Answers:
    """predictions: (n,) class numbers or values; probabilities: (n, k) or None; scores: (n,) or None, with bins.

    Lists, not arrays: most batches have a few rows, for which they are several times faster.
    """

    predictions: list[Any]
    probabilities: list[list[float]] | None
    scores: list[float] | None
    bins: bytes


class Renderer:
    """Writes answers for one model. `score_range` is that of a regression's scores; 0 to 1 otherwise."""

    def __init__(self, signature: Signature, score_range: tuple[float, float] | None) -> None:
        self._signature = signature
        self._range = (0.0, 1.0) if signature.classes else score_range
        self._positive = signature.positive_number
        self._places = {label: number for number, label in enumerate(signature.classes)}
        self._labels = [json.dumps(label) for label in signature.classes]
        parts = [f"{label.replace('%', '%%')}:%r" for label in self._labels]
        self._shares = "{" + ",".join(parts) + "}"

    def checked(self, found: Sequence[Any], probabilities: Any, count: int) -> Answers:
        """The model's answers, fit to be given. Raises UnusableError."""
        if len(found) != count:
            raise UnusableError(f"{len(found)} predictions for {count} rows")
        if not self._signature.classes:
            values = [float(value) for value in found]
            if not all(map(isfinite, values)):
                raise UnusableError("a prediction is not finite")
            return Answers(values, None, values, self._bins(values))
        numbers = self._numbers(found)
        if probabilities is None:
            return Answers(numbers, None, None, b"")
        shares: list[list[float]] = probabilities.tolist()
        if len(shares) != count or not all(map(isfinite, map(sum, shares))):
            raise UnusableError("a probability is not finite")
        positive = self._positive
        scores = [max(row) for row in shares] if positive is None else [row[positive] for row in shares]
        return Answers(numbers, shares, scores, self._bins(scores))

    def reply(self, request: Request, rows: Rows, answers: Answers, start: int) -> Reply:
        """The reply to a request whose rows begin at `start` of the batch."""
        count = len(rows.table)
        end = start + count
        text = self._text(request.form, answers, start, end, rows.id)
        if answers.scores is None:
            return Reply(request.job, 200, count, 0.0, 0.0, b"", text)
        scores = answers.scores[start:end]
        squares = sum([score * score for score in scores])
        return Reply(request.job, 200, count, sum(scores), squares, answers.bins[start:end], text)

    def _text(self, form: int, answers: Answers, start: int, end: int, id_: str | None) -> bytes:
        predictions = answers.predictions[start:end]
        labels = [self._labels[n] for n in predictions] if self._labels else [repr(value) for value in predictions]
        shown = ",".join(labels)
        shares = None if answers.probabilities is None else answers.probabilities[start:end]
        if form == OPEN_INFERENCE:
            return self._tensors(shown, shares, end - start, id_).encode()
        text = f'"predictions":[{shown}]'
        if shares is not None and form != MLFLOW:
            template = self._shares
            text += f',"probabilities":[{",".join([template % tuple(row) for row in shares])}]'
        return text.encode()

    def _tensors(self, shown: str, shares: list[list[float]] | None, count: int, id_: str | None) -> str:
        kind = "BYTES" if self._labels else "FP64"
        text = f'"outputs":[{{"name":"predict","datatype":"{kind}","shape":[{count}],"data":[{shown}]}}'
        if shares is not None:
            values = ",".join([repr(value) for row in shares for value in row])
            text += (
                f',{{"name":"predict_proba","datatype":"FP64","shape":[{count},{len(self._labels)}],"data":[{values}]}}'
            )
        text += "]"
        return text if id_ is None else f'"id":{json.dumps(id_)},{text}'

    def _numbers(self, found: Sequence[Any]) -> list[int]:
        """Labels as class numbers. A model may give them as numbers or booleans: see `class_numbers`."""
        try:
            return [self._places[label] for label in found]
        except (KeyError, TypeError):
            from engine.steps.schema import class_numbers

            numbers: list[int] = class_numbers(found, self._signature.classes).tolist()
            if min(numbers) < 0:
                raise UnusableError("a prediction is of no known class") from None
            return numbers

    def _bins(self, scores: list[float]) -> bytes:
        """The place of each score among the bins; the outer ones are open."""
        if self._range is None:
            return b""
        low, high = self._range
        scale = BINS / ((high - low) or 1.0)
        last = BINS - 1
        return bytes([min(last, max(0, int((score - low) * scale))) for score in scores])
