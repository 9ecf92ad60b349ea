"""What predictions turned out to be: taken, checked against the log, kept, and counted for the release that made them.

`take` answers a request's body, `Desk.take` a list of labels. The same value for the same prediction again changes
nothing; another one is refused. Values count at the generation and weight at which the prediction was made, and only
where it is evidence: the first row of a key's first request in a rollout, which was assigned to its release, not forced
there, and did not fall back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from engine.clock import Clock, system_clock
from engine.core.canonical import utc
from engine.core.evidence import Tally
from engine.serving.payloads import parse
from engine.serving.prediction_log_actuals import Actuals
from engine.serving.prediction_log_files import LOG
from engine.serving.prediction_log_format import ASSIGNED, Part, first_id, id_number
from engine.serving.prediction_log_lookup import Lookup, Made
from engine.serving.refusal import Refusal

_MOST_DETAILS = 20
_RECENT = timedelta(seconds=5)  # a prediction that is not in the log yet may be among those that wait to be written


class Label(NamedTuple):
    """What somebody says that a prediction turned out to be."""

    id: str
    actual: Any


@dataclass
class Taken:
    """What became of labels. `right`: of those accepted now, by (version, role), how many were and were correct."""

    accepted: int = 0
    already: int = 0
    unknown: list[str] = field(default_factory=list)
    conflicting: list[dict[str, Any]] = field(default_factory=list)
    invalid: list[dict[str, Any]] = field(default_factory=list)
    right: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)

    def add(self, other: Taken) -> None:
        """Take what became of further labels in."""
        self.accepted += other.accepted
        self.already += other.already
        self.unknown += other.unknown
        self.conflicting += other.conflicting
        self.invalid += other.invalid

    def to_json(self) -> dict[str, Any]:
        """As it is answered."""
        names = ("accepted", "already", "unknown", "conflicting", "invalid")
        return {name: getattr(self, name) for name in names}


class Desk:
    """Takes the feedback of one model. `folder`: the gateway's."""

    def __init__(self, folder: Path, model: str, clock: Clock = system_clock) -> None:
        self._model = model
        self._clock = clock
        self._lookup = Lookup(folder / LOG / model)
        self._actuals = Actuals.in_folder(folder)

    def take(self, labels: Sequence[Label]) -> Taken:
        """Keep and count labels. Raises sqlite3.Error, with nothing kept."""
        taken = Taken()
        made = self._lookup.find(label.id for label in labels)
        usable: list[tuple[str, str | float]] = []
        for label in labels:
            if label.id not in made:
                taken.unknown.append(label.id)
                continue
            value, problem = _value(label.actual, made[label.id].part)
            if value is None:
                taken.invalid.append({"id": label.id, "problem": problem})
            else:
                usable.append((label.id, value))
        if usable:
            self._keep(usable, made, taken)
        return taken

    def misses_recent(self, labels: Sequence[Label]) -> bool:
        """Whether a prediction is not in the log, but so young that it may still wait to be written."""
        oldest = first_id(self._clock() - _RECENT)
        recent = {label.id for label in labels if (id_number(label.id) or 0) >= oldest}
        return len(self._lookup.find(recent)) < len(recent)

    def close(self) -> None:
        """Close the log's files."""
        self._lookup.close()

    def _keep(self, usable: Sequence[tuple[str, str | float]], made: Mapping[str, Made], taken: Taken) -> None:
        given: dict[str, str | float] = {}
        for id_, value in usable:
            given.setdefault(id_, value)
        now = self._clock()
        at = utc(now.replace(microsecond=0))
        kept = self._actuals.add(
            self._model, utc(now), given, lambda ids: _tallies(at, [(made[id_], given[id_]) for id_ in ids])
        )
        new = given.keys() - kept.keys()
        taken.right = _right([(made[id_], given[id_]) for id_ in new])
        truth = {**given, **kept}
        for id_, value in usable:
            if value != truth[id_]:
                taken.conflicting.append({"id": id_, "actual": truth[id_]})
            elif id_ in new:
                taken.accepted += 1
                new.remove(id_)
            else:
                taken.already += 1


def take(desk: Desk, body: bytes, *, last: bool = True) -> tuple[int, dict[str, Any], Taken | None]:
    """A request's status and answer, and what was taken.

    Status 0: nothing was taken yet, some predictions may still wait to be written; not if it is the `last` try.
    """
    try:
        labels = labels_of(body)
    except Refusal as refusal:
        answer: dict[str, Any] = {"error": refusal.message}
        return refusal.status, answer | ({"details": refusal.details} if refusal.details else {}), None
    if not last and desk.misses_recent(labels):
        return 0, {}, None
    taken = desk.take(labels)
    return 200, taken.to_json(), taken


def labels_of(body: bytes) -> list[Label]:
    """The labels of a body: one object, or a list of them as `feedback`. Raises Refusal, which names every mistake."""
    document = parse(body)
    listed = document["feedback"] if isinstance(document, dict) and document.keys() == {"feedback"} else [document]
    if not isinstance(listed, list) or not listed:
        raise Refusal(422, "feedback must be a list of objects with id and actual")
    details = [{"row": row, "problem": problem} for row, item in enumerate(listed) for problem in _mistakes(item)]
    if details:
        shown = "; ".join(f"row {detail['row']}: {detail['problem']}" for detail in details[:3])
        more = ", and more" if len(details) > 3 else ""
        raise Refusal(422, f"the feedback cannot be read: {shown}{more}", details[:_MOST_DETAILS])
    return [Label(item["id"], item["actual"]) for item in listed]


def _mistakes(item: Any) -> list[str]:
    if not isinstance(item, dict):
        return ["an object with id and actual is expected"]
    found = [f"{name} is missing" for name in ("id", "actual") if name not in item]
    found += [f"{json.dumps(name[:200])} is not known" for name in item if name not in ("id", "actual")]
    if not isinstance(item.get("id", ""), str):
        found.append("id must be a string")
    if not isinstance(item.get("actual", ""), (str, int, float, bool)):
        found.append("actual must be a label or a number")
    return found


def _value(actual: Any, part: Part) -> tuple[str | float | None, str]:
    """A label or number as it is kept; None and why for what cannot be one of this model."""
    classes = part.signature.classes
    if not classes:
        try:
            number = None if isinstance(actual, bool) else float(actual)
        except (ValueError, OverflowError):
            number = None
        return (number, "") if number is not None and isfinite(number) else (None, "a finite number is expected")
    text = next((name for name in _names(actual) if name in classes), None)
    if text is None:
        shown = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
        return None, f"{json.dumps(str(actual)[:200])} is not a class of this model ({shown})"
    return text, ""


def _names(actual: Any) -> list[str]:
    """What a class may be called: 1, 1.0, "1" and "1.0" are the same, and so are true and "True"."""
    text = str(actual)
    names = [text, text.capitalize()] if text in ("true", "false") else [text]
    with suppress(ValueError, OverflowError):
        number = float(text)
        names += [str(int(number))] if number.is_integer() else [str(number)]
    return names


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────

Outcome = tuple[Made, "str | float"]


def _tallies(at: str, outcomes: Sequence[Outcome]) -> list[Tally]:
    """One for each release, role, generation and weight. Loss: 0 or 1 for a class, the squared error for a number."""
    by_part: dict[tuple[int, int, str, float], list[Outcome]] = {}
    for outcome in outcomes:
        part = outcome[0].part
        if outcome[0].way == ASSIGNED and part.role in ("stable", "candidate"):
            by_part.setdefault((part.generation, part.version, part.role, part.weight), []).append(outcome)
    return [_tally(at, found[0][0].part, found) for found in by_part.values()]


def _tally(at: str, part: Part, outcomes: Sequence[Outcome]) -> Tally:
    losses = [_loss(made.prediction, value) for made, value in outcomes]
    return Tally(
        part.model, part.generation, part.version, part.role, part.weight, at,
        labelled=len(losses), correct=losses.count(0.0),
        loss_sum=sum(losses), loss_squares=sum(loss * loss for loss in losses),
    )  # fmt: skip


def _loss(prediction: str | float, actual: str | float) -> float:
    if isinstance(prediction, str) or isinstance(actual, str):
        return float(prediction != actual)
    return (prediction - actual) ** 2


def _right(outcomes: Sequence[Outcome]) -> dict[tuple[int, str], tuple[int, int]]:
    """Labelled and correct by release and role, of classes only: a number is hardly ever met."""
    labelled: Counter[tuple[int, str]] = Counter()
    correct: Counter[tuple[int, str]] = Counter()
    for made, value in outcomes:
        if made.part.signature.classes:
            key = (made.part.version, made.part.role)
            labelled[key] += 1
            correct[key] += made.prediction == value
    return {key: (number, correct[key]) for key, number in labelled.items()}
