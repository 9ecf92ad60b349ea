"""Carry rollouts on: read what was recorded and what is seen, decide, store what follows, tell the registry.

`Delivery.reconcile(model)` does one bounded thing and returns `Done` or `Again`. Whoever wants to may call it, any
number of processes at once: each change is made under the lease of the model's delivery, and swaps exactly the records
that it was decided on. The registry's aliases follow afterwards; that they could not undoes nothing, and is made good
by a later pass.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeAlias

from engine.core import endpoint as endpoints
from engine.core.records import Endpoint, Lease
from engine.core.rollout import Decision, Hold, Move, Phase, Promote, Rollout, Seen, decide, follow, start, supersede
from engine.errors import EngineError, FencedError, LockedError, UsageError
from engine.failpoints import failpoint
from engine.ports import ModelRegistry, Observer, Permissions, ReleaseStore, RolloutChange, RolloutReader, StateReader

POLL_SECONDS = 1.0
"""How often what holds a rollout is looked at again: status and evidence change about twice a second."""
MIRROR_AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Done:
    """There is nothing to carry on."""

    why: str


@dataclass(frozen=True)
class Again:
    """Look again after so many seconds."""

    seconds: float
    why: str


Reconciled: TypeAlias = Done | Again


class DeliveryStore(StateReader, RolloutReader, ReleaseStore, Protocol):
    """The state, as far as delivery is concerned."""


@dataclass(frozen=True)
class Change:
    """An endpoint and its rollout, before and after something was done."""

    before: Endpoint
    after: Endpoint
    rollout: Rollout | None = None


@dataclass(frozen=True)
class Delivery:
    """Carries rollouts on. `actor` stands in the audit log."""

    store: DeliveryStore
    registry: ModelRegistry
    observer: Observer
    hold_endpoint: Callable[[str], AbstractContextManager[Lease]]
    clock: Callable[[], datetime]
    actor: str
    permissions: Permissions | None = None  # None: nobody has to agree, and there are no policies

    # ── passes ─────────────────────────────────────────────────────────────────────────────────────────────

    def reconcile(self, model: str) -> Reconciled:
        """One step of a model's rollout, or what it waits for; the registry's aliases where they lag behind.

        Raises EngineError when the state cannot be read or written.
        """
        came = self.advance(model)
        unmirrored = self.mirror(model)
        if unmirrored and isinstance(came, Done):
            return Again(MIRROR_AGAIN_SECONDS, f"{came.why}; the registry's aliases could not follow: {unmirrored}")
        return came

    def advance(self, model: str) -> Reconciled:
        """As `reconcile`, without the registry."""
        rollout = self.store.open_rollout(model)
        if rollout is None:
            return Done("nothing is rolled out")
        decision = self._decide(rollout)
        if isinstance(decision, Hold):  # most passes end here, and need no lease
            return _again(decision)
        try:
            with self.hold_endpoint(model) as lease:
                rollout = self.store.open_rollout(model)
                if rollout is None:
                    return Done("it ended meanwhile")
                decision = self._decide(rollout)
                if isinstance(decision, Hold):
                    return _again(decision)
                change = self._carry_out(lease, rollout, decision)
        except LockedError as error:
            return Again(POLL_SECONDS, error.message)
        after = change.rollout
        assert after is not None
        words = said(after)
        return Again(0.0, words) if after.is_open else Done(words)

    def _decide(self, rollout: Rollout) -> Decision:
        now = self.clock()
        decision = decide(rollout, self._seen(rollout, now), now)
        refused = self._refused(rollout, decision, now)
        return Hold(refused) if refused else decision

    def _seen(self, rollout: Rollout, now: datetime) -> Seen:
        """What is seen of the candidate, and what people said of it."""
        seen, terms = self.observer.seen(rollout, now), rollout.strategy.approval
        if terms is None or self.permissions is None:
            return seen
        return replace(seen, consent=self.permissions.consent(rollout.model, rollout.candidate, terms, now))

    def _refused(self, rollout: Rollout, decision: Decision, now: datetime) -> str:
        """Why policies keep a candidate from what would give it more traffic; empty if they do not."""
        if self.permissions is None or not isinstance(decision, Move | Promote):
            return ""
        return self.permissions.refused(rollout.model, rollout.candidate, now)

    def mirror(self, model: str) -> str:
        """Make the registry's aliases say what the endpoint says, if they do not. Why they could not, else empty."""
        while (endpoint := self.store.unmirrored().get(model)) is not None:
            failpoint("rollout.mirror")
            try:
                self.registry.set_aliases(model, {"champion": endpoint.stable, "challenger": endpoint.candidate})
            except EngineError as error:
                return error.message
            self.store.set_mirrored(endpoint)  # then it looks again: another hand may have changed it meanwhile
        return ""

    # ── wishes ─────────────────────────────────────────────────────────────────────────────────────────────

    def wish(self, model: str, decision_of: Callable[[Rollout, Seen], Decision]) -> Change:
        """Carry out what a person wants of the rollout. Raises UsageError, LockedError."""
        with self.hold_endpoint(model) as lease:
            rollout = next(iter(self.store.rollouts(model, 1)), None)
            if rollout is None:
                raise UsageError(f"{model} has no rollout", remedy=f"See what is live: engine status {model}")
            now = self.clock()
            decision = decision_of(rollout, self._seen(rollout, now))
            refused = self._refused(rollout, decision, now)
            if refused:
                raise UsageError(refused, remedy="Nothing was changed. It can still be sent away, or rolled back.")
            return self._carry_out(lease, rollout, decision)

    def roll_back(self, model: str, version: int | None, reason: str) -> Change:
        """Serve another release alone, at once; a rollout that goes on is superseded. Raises UsageError."""
        with self.hold_endpoint(model) as lease:
            before = self._endpoint(model)
            if version is None and before.previous is None and before.candidate is not None:
                raise UsageError(
                    f"no release of {model} was stable before version {before.stable}",
                    remedy=f"Send the candidate away: engine abort {model}",
                )
            after = endpoints.roll_back(before, version, reason)
            changes, ended = self._superseding(model, f"rolled back to version {after.stable}")
            failpoint("rollout.record")
            why = f"rolled back: {reason}"
            self.store.set_endpoint(lease, before, after, actor=self.actor, reason=why, rollouts=changes)
            return Change(before, after, ended)

    def retry(self, model: str) -> Change:
        """Begin the last rollout anew after it was sent away. Raises UsageError when there is nothing to retry."""
        with self.hold_endpoint(model) as lease:
            before = self._endpoint(model)
            last = next(iter(self.store.rollouts(model, 1)), None)
            _refuse_retry(before, last)
            assert last is not None
            refused = self._refused(last, Move(0, ""), self.clock())
            if refused:
                raise UsageError(refused, remedy="Nothing was changed.")
            rollout, after = start(
                before, last.candidate, last.strategy, last.number + 1, before.deployed, self.clock()
            )
            assert rollout is not None
            failpoint("rollout.record")
            self.store.set_endpoint(
                lease, before, after, actor=self.actor, reason="retried by hand", rollouts=[(None, rollout)]
            )
            return Change(before, after, rollout)

    # ── storing ────────────────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, lease: Lease, rollout: Rollout, decision: Decision) -> Change:
        before = self._endpoint(rollout.model)
        if before.candidate != rollout.candidate:  # the lease was lost meanwhile: another one has ended the rollout
            raise FencedError(
                f"somebody else changed the delivery of {rollout.model} meanwhile",
                remedy=f"See what is live: engine rollout status {rollout.model}",
            )
        then, after = follow(rollout, before, decision, self.clock())
        failpoint("rollout.record")
        what = f"rollout {rollout.number}" + ("" if then.is_open else f" {then.phase.value}")
        why = f"{what}: {then.reason or 'the candidate is ready'}"
        self.store.set_endpoint(lease, before, after, actor=self.actor, reason=why, rollouts=[(rollout, then)])
        return Change(before, after, then)

    def _endpoint(self, model: str) -> Endpoint:
        return self.store.models([model])[model].endpoint or Endpoint(model)

    def _superseding(self, model: str, why: str) -> tuple[list[RolloutChange], Rollout | None]:
        rollout = self.store.open_rollout(model)
        if rollout is None:
            return [], None
        ended = supersede(rollout, why, self.clock())
        return [(rollout, ended)], ended


def said(rollout: Rollout) -> str:
    """Where a rollout stands, in words: `stage 2 of 3, 25%, progressing`."""
    if not rollout.is_open:
        return f"version {rollout.candidate} was {rollout.phase.value}: {rollout.reason}"
    stages = rollout.strategy.stages
    share = f"{rollout.present.weight * 100:.4g}%" if rollout.present.weight else "without traffic"
    phase = {Phase.PAUSED: "paused", Phase.AWAITING: "waits for approval"}.get(rollout.phase)
    begun = "progressing" if rollout.began_at else "waits until it is ready"
    return f"stage {rollout.stage + 1} of {len(stages)}, {share}, {phase or begun}"


def _refuse_retry(endpoint: Endpoint, last: Rollout | None) -> None:
    if last is not None and last.is_open:
        why = "its rollout goes on"
    elif last is None or endpoint.stable == last.candidate or not endpoint.aborted:
        why = "no candidate was sent away"
    else:
        return
    raise UsageError(
        f"{endpoint.model} has nothing to retry: {why}", remedy=f"See: engine rollout status {endpoint.model}"
    )


def _again(hold: Hold) -> Again:
    return Again(POLL_SECONDS if hold.seconds is None else min(hold.seconds, POLL_SECONDS), hold.why)
