"""Guardrails of the user's own, asked for while a rollout goes on.

Each is asked in a thread of its own, at its interval, so that a server that does not answer keeps nobody from seeing
that the candidate fails by another guardrail. A pass waits for what it asked for a moment only; what was given holds
until it is asked again, for three intervals at most, and never for another stage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from engine.core.evidence import Measurement, Tally
from engine.core.rollout import Rollout, elapsed
from engine.ports import Question

PATIENCE_SECONDS = 3.0
_INTERVALS = 3
_COUNTED = ("requests", "errors", "keys", "error_keys", "labelled", "correct")

Key: TypeAlias = tuple[str, int, int, str]  # model, rollout, stage, guardrail


@dataclass
class _Asked:
    """A guardrail of one stage: what it gave last and when; `done` is set unless it is being asked."""

    done: threading.Event = field(default_factory=threading.Event)
    asked_at: float = float("-inf")
    given_at: float = float("-inf")
    given: Measurement | None = None


class Measurements:
    """What guardrails of the user's own gave. `resolve` turns a secret reference into its value."""

    def __init__(self, resolve: Callable[[str], str], patience: float = PATIENCE_SECONDS) -> None:
        self._resolve = resolve
        self._patience = patience
        self._asked: dict[Key, _Asked] = {}
        self._lock = threading.Lock()

    def of(self, rollout: Rollout, tallies: Iterable[Tally], now: datetime) -> Mapping[str, Measurement]:
        """By name; nothing before the stage has begun, and nothing of a guardrail that gave nothing yet."""
        customs = (rollout.strategy.analysis or {}).get("custom", ())
        if not customs or rollout.began_at is None or not rollout.is_open:
            return {}
        begun = elapsed(rollout.began_at, now)
        due = {_key(rollout, own): own for own in customs if begun >= (own["delay"] or 0)}
        question = _question(rollout, tallies, self._resolve)
        with self._lock:  # several threads may look at once
            self._asked = {key: kept for key, kept in self._asked.items() if key[0] != rollout.model or key in due}
            asked = {key: self._ask(key, own, question) for key, own in due.items()}
        end = time.monotonic() + self._patience
        for kept in asked.values():
            kept.done.wait(max(0.0, end - time.monotonic()))
        found = {own["name"]: _current(asked[key], own) for key, own in due.items()}
        return {name: given for name, given in found.items() if given is not None}

    def _ask(self, key: Key, own: Mapping[str, Any], question: Question) -> _Asked:
        kept = self._asked.setdefault(key, _Asked())
        now = time.monotonic()
        being_asked = not kept.done.is_set() and kept.asked_at > float("-inf")
        if being_asked or now - kept.asked_at < own["interval"]:
            return kept
        kept.asked_at = now
        kept.done.clear()
        # A daemon, because a server that never answers must not keep this process alive.
        threading.Thread(target=_measure, args=(kept, own, question), daemon=True, name=f"guardrail {key[3]}").start()
        return kept


def _current(kept: _Asked, own: Mapping[str, Any]) -> Measurement | None:
    old = time.monotonic() - kept.given_at > _INTERVALS * own["interval"] + PATIENCE_SECONDS
    return None if old else kept.given


def _measure(kept: _Asked, own: Mapping[str, Any], question: Question) -> None:
    from engine.kinds import GAUGES

    try:
        kept.given = GAUGES["prometheus" if own["prometheus"] else "webhook"](own, question)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to pass
        kept.given = Measurement(error=f"it could not be asked ({type(error).__name__})")
    kept.given_at = time.monotonic()
    kept.done.set()


def _key(rollout: Rollout, own: Mapping[str, Any]) -> Key:
    return (rollout.model, rollout.number, rollout.stage_generation, str(own["name"]))


def _question(rollout: Rollout, tallies: Iterable[Tally], resolve: Callable[[str], str]) -> Question:
    versions = {rollout.base: "stable", rollout.candidate: "candidate"}
    evidence = {role: dict.fromkeys(_COUNTED, 0) for role in versions.values()}
    for tally in tallies:
        if tally.generation >= rollout.first_generation and tally.version in versions:
            counts = evidence[versions[tally.version]]
            for name in _COUNTED:
                counts[name] += int(getattr(tally, name))
    return Question(
        rollout.model,
        rollout.candidate,
        rollout.base,
        rollout.present.weight,
        rollout.stage + 1,
        evidence,
        resolve,
    )
