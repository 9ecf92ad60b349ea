"""The rollout's state machine, against a small model of it over thousands of histories."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from engine.core import endpoint as endpoints
from engine.core.approval import Terms
from engine.core.records import Endpoint
from engine.core.rollout import (
    Abort,
    Ask,
    Begin,
    Decision,
    Hold,
    Move,
    Pause,
    Phase,
    Promote,
    Readiness,
    Rollout,
    Seen,
    decide,
    follow,
    start,
    supersede,
    wish_abort,
    wish_pause,
    wish_promote,
    wish_resume,
)
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.errors import UsageError

HISTORIES = 20_000 if os.environ.get("ENGINE_SOAK") == "1" else 1_500
NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
ANYBODY = Terms(informal=True)
CANARY = Strategy("canary", (Stage(0.1, 60), Stage(0.25, 60), Stage(0.5, 60)))
READY = Seen(Readiness.READY, Verdict.PASS)


def begun(strategy: Strategy = CANARY) -> tuple[Rollout, Endpoint]:
    live = endpoints.deploy(Endpoint("churn"), 1, fingerprint="a")
    rollout, endpoint = start(live, 2, strategy, 1, "b", NOON)
    assert rollout is not None
    return rollout, endpoint


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_the_first_release_goes_live_at_once() -> None:
    rollout, endpoint = start(Endpoint("churn"), 1, CANARY, 1, "a", NOON)
    assert rollout is None
    assert (endpoint.stable, endpoint.candidate, endpoint.generation) == (1, None, 1)


def test_a_canary_climbs_and_is_promoted() -> None:
    rollout, endpoint = begun()
    weights = [endpoint.weight]
    moment = NOON
    while rollout.is_open:
        moment += timedelta(seconds=20)
        rollout, endpoint = follow(rollout, endpoint, decide(rollout, READY, moment), moment)
        if endpoint.weight != weights[-1]:
            weights.append(endpoint.weight)
    assert weights == [0.1, 0.25, 0.5, 0.0]
    assert rollout.phase is Phase.PROMOTED
    assert (endpoint.stable, endpoint.candidate, endpoint.previous) == (2, None, 1)
    assert moment - NOON == timedelta(seconds=20 * 3 * 4)  # each stage: begin, then its minute


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(Readiness.LOADING, Verdict.PASS), "not ready"),
        (Seen(Readiness.UNKNOWN, Verdict.PASS), "no gateway"),
    ],
)
def test_nothing_begins_before_the_candidate_is_ready(seen: Seen, words: str) -> None:
    rollout, _ = begun()
    decision = decide(rollout, seen, after(1e6))
    assert isinstance(decision, Hold)
    assert words in decision.why


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_without_evidence_it_holds(verdict: Verdict) -> None:
    rollout, endpoint = begun()
    rollout, endpoint = follow(rollout, endpoint, Begin(), NOON)
    assert isinstance(decide(rollout, Seen(Readiness.READY, verdict, "12 of 500 requests"), after(1e6)), Hold)


def test_evidence_does_not_shorten_a_stage() -> None:
    rollout, endpoint = begun()
    rollout, _ = follow(rollout, endpoint, Begin(), NOON)
    assert decide(rollout, READY, after(59)) == Hold("the stage lasts 1 s more", 1.0)
    assert isinstance(decide(rollout, READY, after(60)), Move)
    assert decide(rollout, READY, after(-3600)) == Hold("the stage lasts 60 s more", 60.0), "a clock set back"


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PAUSED, Phase.AWAITING])
@pytest.mark.parametrize(
    "seen", [Seen(Readiness.READY, Verdict.FAIL, "errors"), Seen(Readiness.FAILED, Verdict.PASS, "golden")]
)
def test_failure_aborts_whatever_it_waits_for(phase: Phase, seen: Seen) -> None:
    rollout, endpoint = begun()
    rollout = replace(rollout, phase=phase)
    assert isinstance(decide(rollout, seen, NOON), Abort)
    assert isinstance(wish_promote(rollout, seen, "ada"), Abort), "abort outranks promote"
    ended, endpoint = follow(rollout, endpoint, decide(rollout, seen, NOON), NOON)
    assert ended.phase is Phase.ABORTED
    assert (endpoint.stable, endpoint.candidate, endpoint.weight) == (1, None, 0.0)
    assert endpoint.aborted


def test_approval_is_asked_for_at_the_end() -> None:
    rollout, endpoint = begun(replace(CANARY, stages=CANARY.stages[:1], approval=ANYBODY))
    rollout, endpoint = follow(rollout, endpoint, Begin(), NOON)
    decision = decide(rollout, READY, after(60))
    assert isinstance(decision, Ask)
    rollout, endpoint = follow(rollout, endpoint, decision, after(60))
    assert isinstance(decide(rollout, READY, after(1e6)), Hold)
    rollout, endpoint = follow(rollout, endpoint, wish_promote(rollout, READY, "ada"), after(61))
    assert endpoint.stable == 2


def test_a_stage_that_finds_no_answer_in_time_ends() -> None:
    rollout, endpoint = begun(Strategy("ab_test", (Stage(0.5, limit=3600),)))
    rollout, endpoint = follow(rollout, endpoint, Begin(), NOON)
    unsure = Seen(Readiness.READY, Verdict.INCONCLUSIVE, "no difference yet")
    assert decide(rollout, unsure, after(3599)) == Hold("no difference yet")
    assert decide(rollout, unsure, after(3600)) == Abort("its time is up: no difference yet")
    assert isinstance(decide(rollout, READY, after(3600)), Promote)


def test_a_held_stage_goes_on_only_when_resumed() -> None:
    rollout, endpoint = begun(Strategy("canary", (Stage(0.1, hold=True), Stage(0.5))))
    rollout, endpoint = follow(rollout, endpoint, Begin(), NOON)
    rollout, endpoint = follow(rollout, endpoint, decide(rollout, READY, NOON), NOON)
    assert (rollout.phase, rollout.passed) == (Phase.PAUSED, True)
    assert isinstance(decide(rollout, READY, after(1e6)), Hold)
    assert wish_resume(rollout, "ada") == Move(1, "the stage is passed")


TIMED = Strategy("canary", (Stage(0.1, 60, hold=True, hold_seconds=300), Stage(0.5)))


def paused_for_a_time() -> tuple[Rollout, Endpoint]:
    rollout, endpoint = begun(TIMED)
    rollout, endpoint = follow(rollout, endpoint, Begin(), NOON)
    decision = decide(rollout, READY, after(60))
    assert isinstance(decision, Pause)
    return follow(rollout, endpoint, decision, after(60))


def test_a_pause_with_a_time_ends_by_itself() -> None:
    rollout, endpoint = paused_for_a_time()
    assert (rollout.phase, rollout.passed) == (Phase.PAUSED, True)
    assert decide(rollout, READY, after(359)) == Hold(rollout.reason, 1.0)
    decision = decide(rollout, READY, after(360))
    assert decision == Move(1, "the stage is passed")
    rollout, endpoint = follow(rollout, endpoint, decision, after(360))
    assert (rollout.phase, rollout.passed, endpoint.weight) == (Phase.PROGRESSING, False, 0.5)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen(Readiness.READY, Verdict.INCONCLUSIVE, "unsure"), Hold),
        (Seen(Readiness.READY, Verdict.ERROR, "the server answered 503"), Hold),
        (Seen(Readiness.LOADING, Verdict.PASS), Hold),
        (Seen(Readiness.READY, Verdict.FAIL, "errors"), Abort),
    ],
)
def test_a_pause_that_ends_skips_no_evidence(seen: Seen, expected: type[Decision]) -> None:
    rollout, _ = paused_for_a_time()
    assert isinstance(decide(rollout, seen, after(1e6)), expected)


def test_a_pause_with_a_time_can_be_cut_short_and_made_longer_by_hand() -> None:
    rollout, endpoint = paused_for_a_time()
    assert wish_resume(rollout, "ada") == Move(1, "the stage is passed")
    rollout, endpoint = follow(rollout, endpoint, wish_pause(rollout, "ada"), after(100))
    assert isinstance(decide(rollout, READY, after(1e6)), Hold), "now only a person ends it"
    rollout, endpoint = follow(rollout, endpoint, wish_resume(rollout, "ada"), after(200))
    assert (rollout.phase, rollout.stage) == (Phase.PROGRESSING, 0)


def test_resuming_what_was_paused_by_hand_skips_no_evidence() -> None:
    rollout, endpoint = begun(Strategy("canary", (Stage(0.1, hold=True), Stage(0.5))))
    rollout, endpoint = follow(rollout, endpoint, wish_pause(rollout, "ada"), NOON)
    rollout, endpoint = follow(rollout, endpoint, wish_resume(rollout, "ada"), NOON)
    assert (rollout.phase, rollout.stage, endpoint.weight) == (Phase.PROGRESSING, 0, 0.1)


def test_what_has_ended_cannot_be_moved() -> None:
    rollout, endpoint = begun()
    ended, endpoint = follow(rollout, endpoint, Abort("errors"), NOON)
    assert isinstance(decide(ended, READY, NOON), Hold)
    for wish in (
        lambda: wish_promote(ended, READY, "a"),
        lambda: wish_pause(ended, "a"),
        lambda: wish_abort(ended, ""),
    ):
        with pytest.raises(UsageError, match="no rollout of churn"):
            wish()
    with pytest.raises(ValueError, match="does not move this endpoint"):
        follow(ended, endpoint, Promote("late"), NOON)


# ── histories ────────────────────────────────────────────────────────────────────────────────────────────────


class History:
    """One endpoint through random events; after each, what must always hold is checked."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = NOON
        self.endpoint = endpoints.deploy(Endpoint("churn"), 1, fingerprint="1")
        self.rollout: Rollout | None = None
        self.versions = 1
        self.numbers = 0
        self.phases: set[Phase] = set()

    def run(self, events: int) -> None:
        for _ in range(events):
            name = self.chance.choice(
                ["tick"] * 8 + ["new", "promote", "pause", "resume", "abort", "rollback", "retry"]
            )
            before = self.endpoint, self.rollout
            getattr(self, name)()
            self.check(*before, name)

    def seen(self) -> Seen:
        readiness = self.chance.choices(list(Readiness), [8, 2, 0.3, 1])[0]
        return Seen(readiness, self.chance.choices(list(Verdict), [8, 4, 1, 0.5])[0], "seen")

    def tick(self) -> None:
        self.now += timedelta(seconds=self.chance.choice([1, 30, 61, 3600, -500]))
        if self.rollout is None:
            return
        if self.chance.random() < 0.1:  # the one who advances dies before anything is stored, and another one starts
            decide(self.rollout, self.seen(), self.now)
        seen = self.seen()
        decision = decide(self.rollout, seen, self.now)
        if isinstance(decision, Move | Ask | Promote) or (isinstance(decision, Pause) and decision.passed):
            assert seen == Seen(Readiness.READY, Verdict.PASS, "seen"), "no evidence, no promotion"
            assert self.rollout.began_at is not None, "weights grow on ready releases only"
        if seen.verdict is Verdict.FAIL and self.rollout.is_open:
            assert isinstance(decision, Abort)
        self.carry_out(decision)

    def carry_out(self, decision: Decision) -> None:
        assert self.rollout is not None
        self.rollout, self.endpoint = follow(self.rollout, self.endpoint, decision, self.now)

    def new(self) -> None:
        self.versions += 1
        self.begin(self.versions)

    def begin(self, version: int) -> None:
        if self.rollout is not None and self.rollout.is_open:
            self.rollout = supersede(self.rollout, "a newer candidate", self.now)
        self.numbers += 1
        strategy = self.chance.choice([CANARY, replace(CANARY, approval=ANYBODY), Strategy("recreate"), MIXED, TIMED])
        started, self.endpoint = start(self.endpoint, version, strategy, self.numbers, str(version), self.now)
        self.rollout = started or self.rollout

    def retry(self) -> None:
        if self.rollout is not None and self.rollout.phase is Phase.ABORTED and self.endpoint.aborted:
            self.begin(self.rollout.candidate)

    def wish(self, make: object) -> None:
        assert callable(make)
        if self.rollout is None:
            return
        try:
            decision = make()
        except UsageError:
            return
        self.carry_out(decision)

    def promote(self) -> None:
        seen = self.seen()
        was = self.rollout
        self.wish(lambda: wish_promote(self.rollout, seen, "ada"))  # type: ignore[arg-type]
        if was is not None and was.is_open and (seen.verdict is Verdict.FAIL or seen.readiness is Readiness.FAILED):
            assert self.rollout is not None
            assert self.rollout.phase is Phase.ABORTED, "abort outranks promote"

    def pause(self) -> None:
        self.wish(lambda: wish_pause(self.rollout, "ada"))  # type: ignore[arg-type]

    def resume(self) -> None:
        self.wish(lambda: wish_resume(self.rollout, "ada"))  # type: ignore[arg-type]

    def abort(self) -> None:
        self.wish(lambda: wish_abort(self.rollout, "by hand"))  # type: ignore[arg-type]

    def rollback(self) -> None:
        if self.endpoint.previous is None:
            return
        try:
            self.endpoint = endpoints.roll_back(self.endpoint, None, "by hand")
        except UsageError:
            return
        if self.rollout is not None and self.rollout.is_open:
            self.rollout = supersede(self.rollout, "rolled back", self.now)

    def check(self, before: Endpoint, rollout: Rollout | None, event: str) -> None:
        now = self.endpoint
        self.phases |= {self.rollout.phase} if self.rollout is not None else set()
        assert now.stable is not None, "exactly one stable"
        assert now.candidate != now.stable
        assert now.candidate is not None or (now.weight, now.mirror) == (0.0, 0.0)
        assert now.generation - before.generation == (0 if now == before else 1)
        if self.rollout is not None and self.rollout.is_open:
            assert now.candidate == self.rollout.candidate
            assert now.weight == self.rollout.present.weight, "never above the approved weight"
            assert now.mirror == self.rollout.present.mirror
        else:
            assert now.candidate is None
        if now.weight > before.weight and now.candidate == before.candidate:
            assert event in ("tick", "resume"), "only a passed stage lets the weight grow"
        if rollout is not None and self.rollout is not None and rollout.number == self.rollout.number:
            assert rollout.is_open or self.rollout == rollout, "what has ended stays as it ended"
            assert self.rollout.stage >= rollout.stage


MIXED = Strategy("canary", (Stage(0.0, mirror=0.5), Stage(0.2, 30, hold=True), Stage(0.6, 30, evidence=True)))


def test_thousands_of_histories() -> None:
    phases: set[Phase] = set()
    for seed in range(HISTORIES):
        history = History(random.Random(seed))
        history.run(40)
        phases |= history.phases
    assert phases == set(Phase), "every phase was come by"
