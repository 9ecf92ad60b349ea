"""How a candidate goes live: the state machine of a rollout. Pure.

A rollout goes through stages, each with a share of the traffic, a least duration and the evidence that it needs. Who
advances one asks `decide` with what is seen at the moment, then carries the decision out by `follow`, which gives the
rollout's and the endpoint's next records; both are stored in one transaction, so that a rollout never says one thing
and the endpoint another. A person's wishes (`promote`, `pause`, `resume`, `abort`, `approve`) are decisions too.

What always holds: a failure outranks every other wish; without evidence nothing is promoted by itself; a stage's time
begins when its candidate is ready; what has ended stays as it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from engine.core import endpoint as endpoints
from engine.core.approval import Consent, Terms
from engine.core.canonical import utc
from engine.core.records import Endpoint
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.errors import UsageError, assert_never

# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────


class Phase(str, Enum):
    """Where a rollout stands. The last three are ends."""

    PROGRESSING = "progressing"
    PAUSED = "paused"
    AWAITING = "awaiting_approval"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


OPEN = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.AWAITING})


@dataclass(frozen=True)
class Rollout:
    """One candidate on its way. `number` counts the rollouts of a model from 1.

    `began_at`: when the candidate was first ready in this stage, None until then. `passed`: the stage is passed, and
    waits for somebody. Evidence counts from the endpoint's generation `first_generation`; what the present stage has
    seen, from `stage_generation`.
    """

    model: str
    number: int
    candidate: int
    base: int
    strategy: Strategy
    phase: Phase
    stage: int
    first_generation: int
    stage_generation: int
    started_at: str
    changed_at: str
    began_at: str | None = None
    passed: bool = False
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it still goes on."""
        return self.phase in OPEN

    @property
    def present(self) -> Stage:
        """The stage that it is in."""
        return self.strategy.stages[self.stage]


class Readiness(str, Enum):
    """What is known of the candidate's model processes."""

    READY = "ready"
    LOADING = "loading"
    FAILED = "failed"  # it cannot be loaded, or does not predict what it predicted when it was registered
    UNKNOWN = "unknown"  # no gateway says anything


@dataclass(frozen=True)
class Seen:
    """The world at the moment of a decision; `verdict` is the analysis's, `why` says it in words."""

    readiness: Readiness
    verdict: Verdict
    why: str = ""
    consent: Consent | None = None  # of those who have to agree, where the strategy asks for it


# ── decisions ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Hold:
    """Nothing changes. `seconds`: when to look again at the earliest, as far as that is known."""

    why: str
    seconds: float | None = None


@dataclass(frozen=True)
class Begin:
    """The candidate is ready: the stage's time begins."""


@dataclass(frozen=True)
class Move:
    """Go to a stage."""

    stage: int
    why: str


@dataclass(frozen=True)
class Pause:
    """Stay where it is until somebody resumes. `passed`: then it goes on to the next stage."""

    why: str
    passed: bool = False


@dataclass(frozen=True)
class Resume:
    """Go on in the same stage."""

    why: str


@dataclass(frozen=True)
class Ask:
    """Everything is passed; a person must agree."""

    why: str


@dataclass(frozen=True)
class Promote:
    """The candidate becomes the stable release."""

    why: str


@dataclass(frozen=True)
class Abort:
    """The candidate is sent away; the stable release serves everything."""

    why: str


Decision = Hold | Begin | Move | Pause | Resume | Ask | Promote | Abort


def decide(rollout: Rollout, seen: Seen, now: datetime) -> Decision:
    """What to do with a rollout at this moment."""
    if not rollout.is_open:
        return Hold(f"it was {rollout.phase.value}")
    if seen.readiness is Readiness.FAILED:
        return Abort(f"the candidate is not fit to serve: {seen.why}")
    if seen.verdict is Verdict.FAIL:
        return Abort(seen.why)
    if seen.consent is not None and seen.consent.rejected:
        return Abort(seen.consent.text)
    if rollout.phase is Phase.PAUSED and (left := _pause_left(rollout, now)) != 0:
        return Hold(rollout.reason, left)
    if rollout.phase is Phase.AWAITING and not _agreed(seen):
        return Hold(_waits_for(seen.consent))
    if seen.readiness is not Readiness.READY:
        return Hold("the candidate is not ready yet" if seen.readiness is Readiness.LOADING else "no gateway serves it")
    if rollout.phase is Phase.AWAITING:
        return _passed(rollout, seen.consent)
    if rollout.began_at is None:
        return Begin()
    passed = elapsed(rollout.began_at, now)
    if rollout.present.evidence and seen.verdict is not Verdict.PASS:
        why = seen.why or "there is no evidence yet"
        late = rollout.present.limit is not None and passed >= rollout.present.limit
        return Abort(f"its time is up: {why}") if late else Hold(why)
    left = rollout.present.seconds - passed
    if left > 0:
        return Hold(f"the stage lasts {left:.0f} s more", left)
    if rollout.present.hold and not rollout.passed:
        return Pause(_waits(rollout.present), passed=True)
    return _passed(rollout, seen.consent)


def _agreed(seen: Seen) -> bool:
    return seen.consent is not None and seen.consent.enough


def _waits_for(consent: Consent | None) -> str:
    return "it waits for approval" if consent is None else f"it waits for approval: {consent.text}"


def _waits(stage: Stage) -> str:
    if stage.hold_seconds is None:
        return "the stage is passed and waits for somebody to resume it"
    return f"the stage is passed and pauses for {stage.hold_seconds:.0f} s, or until somebody resumes it"


def _pause_left(rollout: Rollout, now: datetime) -> float | None:
    """Seconds that a pause with a time still lasts; None for one that only a person ends."""
    if not rollout.passed or rollout.present.hold_seconds is None:
        return None
    return max(0.0, rollout.present.hold_seconds - elapsed(rollout.changed_at, now))


def _passed(rollout: Rollout, consent: Consent | None) -> Decision:
    if rollout.stage + 1 < len(rollout.strategy.stages):
        return Move(rollout.stage + 1, "the stage is passed")
    terms = rollout.strategy.approval
    if terms is not None and (consent is None or not consent.enough):
        return Ask(f"every stage is passed; {_waits_for(consent)}")
    if terms is not None and consent is not None:
        return Promote(f"every stage is passed; approved by {', '.join(consent.given)}")
    return Promote("every stage is passed")


def elapsed(since: str, now: datetime) -> float:
    """Seconds since a moment of a record; 0 when the clock went backwards."""
    return max(0.0, (now - datetime.fromisoformat(since.replace("Z", "+00:00"))).total_seconds())


# ── wishes ───────────────────────────────────────────────────────────────────────────────────────────────────


def wish_promote(rollout: Rollout, seen: Seen, by: str) -> Decision:
    """A person wants the candidate live now. Raises UsageError; what fails is aborted all the same."""
    _must_be_open(rollout, "promote")
    if seen.readiness is Readiness.FAILED or seen.verdict is Verdict.FAIL:
        return Abort(seen.why)
    refuse_without_consent(rollout.model, rollout.candidate, rollout.strategy.approval, seen.consent)
    if seen.readiness is Readiness.LOADING:
        raise UsageError(
            f"version {rollout.candidate} of {rollout.model} is not ready to serve yet",
            remedy=f"Wait for it: engine rollout watch {rollout.model}",
        )
    return Promote(f"promoted by {by}")


def refuse_without_consent(model: str, version: int, terms: Terms | None, consent: Consent | None) -> None:
    """Raises UsageError where people have to agree who have not."""
    if terms is not None and not terms.informal and (consent is None or not consent.enough):
        raise UsageError(
            f"version {version} of {model} needs approval: {consent.text if consent else 'nobody has agreed'}",
            remedy=f"Whoever may, agrees by: engine approve {model}",
        )


def wish_pause(rollout: Rollout, by: str) -> Decision:
    """Raises UsageError when it has ended or is paused."""
    _must_be_open(rollout, "pause")
    timed = rollout.passed and rollout.present.hold_seconds is not None  # then it would go on by itself
    if rollout.phase is Phase.PAUSED and not timed:
        raise UsageError(
            f"the rollout of {rollout.model} is paused already", remedy=f"Go on: engine rollout resume {rollout.model}"
        )
    return Pause(f"paused by {by}")


def wish_resume(rollout: Rollout, by: str, consent: Consent | None = None) -> Decision:
    """Go on, to the next stage where this one is passed. Raises UsageError when it is not paused."""
    _must_be_open(rollout, "resume")
    if rollout.phase is not Phase.PAUSED:
        raise UsageError(
            f"the rollout of {rollout.model} is not paused", remedy=f"See: engine rollout status {rollout.model}"
        )
    return _passed(rollout, consent) if rollout.passed else Resume(f"resumed by {by}")


def wish_abort(rollout: Rollout, reason: str) -> Decision:
    """Raises UsageError when it has ended."""
    _must_be_open(rollout, "abort")
    return Abort(reason)


def _must_be_open(rollout: Rollout, verb: str) -> None:
    if not rollout.is_open:
        raise UsageError(
            f"there is no rollout of {rollout.model} to {verb}: the last one was {rollout.phase.value}",
            remedy=f"See: engine rollout status {rollout.model}",
        )


# ── carrying out ─────────────────────────────────────────────────────────────────────────────────────────────


def start(
    endpoint: Endpoint, version: int, strategy: Strategy, number: int, fingerprint: str, now: datetime
) -> tuple[Rollout | None, Endpoint]:
    """Bring in a release: at once if it is the first or nothing is to be proven (None), else as a candidate."""
    if endpoint.stable is None or not strategy.stages or endpoint.stable == version:
        return None, endpoints.deploy(endpoint, version, fingerprint=fingerprint)
    first = strategy.stages[0]
    after = endpoints.offer(endpoint, version, weight=first.weight, mirror=first.mirror, fingerprint=fingerprint)
    moment = utc(now)
    rollout = Rollout(
        model=endpoint.model,
        number=number,
        candidate=version,
        base=endpoint.stable,
        strategy=strategy,
        phase=Phase.PROGRESSING,
        stage=0,
        first_generation=after.generation,
        stage_generation=after.generation,
        started_at=moment,
        changed_at=moment,
    )
    return rollout, after


def supersede(rollout: Rollout, why: str, now: datetime) -> Rollout:
    """It ends because something else took its endpoint: a newer candidate, or a rollback."""
    return replace(rollout, phase=Phase.SUPERSEDED, reason=why, changed_at=utc(now))


def follow(  # noqa: RET503 - the last case raises
    rollout: Rollout, endpoint: Endpoint, decision: Decision, now: datetime
) -> tuple[Rollout, Endpoint]:
    """The records after a decision. Raises ValueError for an endpoint that is not this rollout's."""
    if not isinstance(decision, Hold) and (not rollout.is_open or endpoint.candidate != rollout.candidate):
        raise ValueError(f"the rollout {rollout.number} of {rollout.model} does not move this endpoint")
    then = replace(rollout, changed_at=utc(now))
    match decision:
        case Hold():
            return rollout, endpoint
        case Begin():
            return replace(then, began_at=utc(now)), endpoint
        case Move():
            stage = rollout.strategy.stages[decision.stage]
            after = endpoints.expose(endpoint, weight=stage.weight, mirror=stage.mirror)
            then = replace(then, phase=Phase.PROGRESSING, stage=decision.stage, began_at=None, passed=False)
            return replace(then, stage_generation=after.generation, reason=decision.why), after
        case Pause():
            return replace(then, phase=Phase.PAUSED, passed=decision.passed, reason=decision.why), endpoint
        case Resume():
            return replace(then, phase=Phase.PROGRESSING, reason=decision.why), endpoint
        case Ask():
            return replace(then, phase=Phase.AWAITING, reason=decision.why), endpoint
        case Promote():
            return replace(then, phase=Phase.PROMOTED, reason=decision.why), endpoints.promote(endpoint)
        case Abort():
            return replace(then, phase=Phase.ABORTED, reason=decision.why), endpoints.abort(endpoint, decision.why)
        case _:
            assert_never(decision)
