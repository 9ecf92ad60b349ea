"""All that a trigger may look at, handed in by the caller. Pure data; moments are aware datetimes.

What was not observed is None or absent, and makes a trigger `Unknown`: never due, never "nothing new".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.core.canonical import digest, short
from engine.core.records import Event
from engine.core.verdict import Verdict
from engine.triggers.decision import Held

_HOW = frozenset({"cooldown", "budget", "force"})  # what is no part of a trigger's identity, nor a group's options


def key_of(block: Mapping[str, Any]) -> str:
    """The identity of a resolved trigger or group: by what it watches, not by its place in the list.

    Its history (last handled, held, retrains) goes with it through a reordering, and ends when what it watches changes.
    """
    for group in ("any_of", "all_of"):
        if group in block:
            return short(digest([group, *sorted(map(key_of, block[group]))]))
    return short(digest({name: value for name, value in block.items() if name not in _HOW}))


@dataclass(frozen=True)
class Snapshot:
    """Data that a run learned from, or tried to. `rows` is None when nobody counted them."""

    digest: str
    rows: int | None
    taken_at: datetime


@dataclass(frozen=True)
class Champion:
    """The release that is live. `metrics`: its own evaluation on the hold-out, by canonical name."""

    version: int
    live_since: datetime
    snapshot: Snapshot | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DataNow:
    """The data as it is now. `rows` is None when it was not counted."""

    digest: str
    rows: int | None = None


@dataclass(frozen=True)
class DriftCheck:
    """What a drift detector said of a window.

    `verdict`: FAIL is drift (significant and large enough), PASS none, INCONCLUSIVE too few rows, ERROR no answer.
    `effect` is the largest effect size among what drifted (or at all), `columns` are those that drifted, worst first.
    """

    verdict: Verdict
    effect: float | None = None
    columns: tuple[str, ...] = ()
    text: str = ""  # `tenure: KS 0.21, p 3e-9`


@dataclass(frozen=True)
class Measured:
    """A live metric of a window, over the predictions whose actual value is known.

    `labels` of `predictions` are known; `low` and `high` bound the value (95 %), if they were computed.
    """

    value: float
    labels: int
    predictions: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Window:
    """A closed window of monitoring: it gets no more predictions. Windows of one length do not overlap.

    `version` is the release whose predictions these are. `drift` is by `triggers.drift.settings_key(block)`, for
    triggers may watch different columns at different levels; `metrics` by canonical metric name. `labels_final` says
    that no more labels are waited for (the window's end and the labels' delay have passed), `labels_final_at` since
    when, where labels have a delay.
    """

    id: str
    start: datetime
    end: datetime
    version: int
    drift: Mapping[str, DriftCheck] = field(default_factory=dict)
    metrics: Mapping[str, Measured] = field(default_factory=dict)
    labels_final: bool = True
    labels_final_at: datetime | None = None


@dataclass(frozen=True)
class UpstreamRelease:
    """The newest release of another model. `deployed_at` is when it became the stable one; None: it did not."""

    version: int
    registered_at: datetime
    deployed_at: datetime | None = None


@dataclass(frozen=True)
class Past:
    """What became of a trigger or a group before, by `key_of`. `triggers.evaluation.past_of` reads it off the state.

    `handled_at`: when it was last due and taken up, whatever came of it. `retrains`: when retrains began that it had a
    part in, newest first, failed ones too, those that found nothing new not. `held`: it is due and waits.
    """

    first_seen_at: datetime | None = None
    handled_at: datetime | None = None
    retrains: tuple[datetime, ...] = ()
    held: Held | None = None


@dataclass(frozen=True)
class Facts:
    """The world as one evaluation sees it.

    `champion` is None before the first release. `data` is None when it was not observed. `windows` are newest first,
    `events` the pending ones of the inbox in the order of their arrival. `upstream` holds the models that are known.
    `attempted` is the newest data that a run has taken a snapshot of, whatever came of it. `on_trial`: the release
    that a rollout is about to put in the champion's place.
    """

    model: str
    now: datetime
    champion: Champion | None = None
    attempted: Snapshot | None = None
    data: DataNow | None = None
    windows: tuple[Window, ...] = ()
    events: tuple[Event, ...] = ()
    upstream: Mapping[str, UpstreamRelease] = field(default_factory=dict)
    past: Mapping[str, Past] = field(default_factory=dict)
    on_trial: int | None = None

    def past_of(self, block: Mapping[str, Any]) -> Past:
        """The past of a resolved trigger or group."""
        return self.past.get(key_of(block), Past())

    @property
    def learned(self) -> Snapshot | None:
        """The newest data that was learned from, or at least tried: new is what has come since."""
        own = self.champion.snapshot if self.champion else None
        known = [snapshot for snapshot in (own, self.attempted) if snapshot is not None]
        return max(known, key=lambda snapshot: snapshot.taken_at, default=None)
