"""Who has to agree, who has, and what a rollout makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from engine.core import endpoint as endpoints
from engine.core.approval import Approval, Consent, Terms, consent_of, holds_deploy, is_maker, refusal, terms_of
from engine.core.canonical import utc
from engine.core.records import Endpoint
from engine.core.rollout import (
    Abort,
    Ask,
    Decision,
    Hold,
    Phase,
    Promote,
    Readiness,
    Rollout,
    Seen,
    decide,
    follow,
    start,
    wish_promote,
)
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.errors import UsageError

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
TWO = Terms(2, ("ana", "ben", "cleo"))


def words(*said: str, artifact: str = "a") -> list[Approval]:
    """`ana` agrees, `-ana` does not; one an hour, the first at noon."""
    return [
        Approval("churn", 2, artifact, not each.startswith("-"), each.lstrip("-"), "token", "so", utc(at(n)), n)
        for n, each in enumerate(said)
    ]


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("said", "enough", "text"),
    [
        ([], False, "0 of 2 approvals; it awaits ana or ben or cleo"),
        (["ana"], False, "1 of 2 approvals (ana); it awaits ben or cleo"),
        (["ana", "ana"], False, "1 of 2 approvals (ana); it awaits ben or cleo"),
        (["ana", "dora"], False, "1 of 2 approvals (ana); it awaits ben or cleo"),
        (["ana", "ben"], True, "2 of 2 approvals (ana, ben)"),
        (["ana", "ben", "-cleo"], False, "rejected by cleo: so"),
        (["ana", "ben", "-dora"], True, "2 of 2 approvals (ana, ben)"),
        (["-ana", "ana", "ben"], True, "2 of 2 approvals (ana, ben)"),
        (["ana", "ben", "-ana"], False, "rejected by ana: so"),
    ],
)
def test_of_everybody_who_may_the_last_word_counts(said: list[str], enough: bool, text: str) -> None:
    found = consent_of(TWO, words(*said), "a", [], at(9))
    assert (found.enough, found.text) == (enough, text)


def test_a_word_is_about_one_artifact() -> None:
    assert not consent_of(Terms(), words("ana", artifact="b"), "a", [], NOON).enough
    assert not consent_of(Terms(), words("-ana", artifact="b"), "a", [], NOON).rejected


def test_a_word_expires_and_a_rejection_does_not() -> None:
    terms = Terms(expires=3600.0)
    assert consent_of(terms, words("ana"), "a", [], at(0.99)).enough
    assert not consent_of(terms, words("ana"), "a", [], at(1)).enough
    assert consent_of(terms, words("-ana"), "a", [], at(99)).rejected


def test_who_made_it_does_not_count_where_that_is_asked() -> None:
    makers = ["root", "Ana@example.org"]
    assert is_maker("ana", makers) and is_maker("ana@example.org", makers) and not is_maker("ben", makers)
    independent = Terms(by=("ana", "ben"), independent=True)
    assert refusal(independent, "ana", makers) == "ana made it, and somebody else has to approve it"
    found = consent_of(independent, words("ana"), "a", makers, NOON)
    assert not found.enough and found.text == "0 of 1 approval; it awaits ben"
    assert consent_of(Terms(), words("ana"), "a", makers, NOON).enough


def test_terms_of_a_spec() -> None:
    assert terms_of({"strategy": "recreate"}) is None
    assert terms_of({"strategy": "canary", "approval": "automatic"}) is None
    assert terms_of({"strategy": "canary", "approval": "required"}) == Terms()
    assert terms_of({"approval": {"count": 2, "by": ["ana", "ben"]}}) == Terms(2, ("ana", "ben"))


@pytest.mark.parametrize(
    ("terms", "stages", "first", "held"),
    [
        (None, False, True, False),
        (Terms(), True, False, False),  # it is asked for at the end of the rollout
        (Terms(), True, True, True),
        (Terms(), False, False, True),
        (Terms(hold="traffic"), True, False, True),
    ],
)
def test_nothing_goes_live_before_it_is_agreed_to(terms: Terms | None, stages: bool, first: bool, held: bool) -> None:
    assert holds_deploy(terms, stages=stages, first=first) is held


# ── rollouts ─────────────────────────────────────────────────────────────────────────────────────────────────


def awaiting(terms: Terms = TWO) -> tuple[Rollout, Endpoint]:
    live = endpoints.deploy(Endpoint("churn"), 1, fingerprint="a")
    rollout, endpoint = start(live, 2, Strategy("canary", (Stage(0.1, 60),), terms), 1, "b", NOON)
    assert rollout is not None
    return replace(rollout, began_at=rollout.started_at), endpoint


def decided(rollout: Rollout, *said: str, readiness: Readiness = Readiness.READY) -> Decision:
    seen = Seen(readiness, Verdict.PASS, consent=consent_of(TWO, words(*said), "a", [], NOON))
    return decide(rollout, seen, at(1))


def test_a_rollout_asks_and_goes_on_once_enough_agreed() -> None:
    rollout, endpoint = awaiting()
    asked = decided(rollout, "ana")
    assert asked == Ask("every stage is passed; it waits for approval: 1 of 2 approvals (ana); it awaits ben or cleo")
    rollout, endpoint = follow(rollout, endpoint, asked, at(1))
    assert rollout.phase is Phase.AWAITING
    held = decided(rollout, "ana")
    assert isinstance(held, Hold) and "it awaits ben or cleo" in held.why
    assert isinstance(decided(rollout, "ana", "ben", readiness=Readiness.LOADING), Hold)
    agreed = decided(rollout, "ana", "ben")
    assert agreed == Promote("every stage is passed; approved by ana, ben")
    assert follow(rollout, endpoint, agreed, at(2))[1].stable == 2


def test_who_agreed_early_is_not_asked_again() -> None:
    assert isinstance(decided(awaiting()[0], "ana", "ben"), Promote)


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PAUSED, Phase.AWAITING])
def test_a_rejection_sends_the_candidate_away_whatever_it_does(phase: Phase) -> None:
    rollout, endpoint = awaiting()
    decision = decided(replace(rollout, phase=phase), "ana", "ben", "-cleo")
    assert decision == Abort("rejected by cleo: so")
    assert follow(rollout, endpoint, decision, at(1))[1].candidate is None


def test_nobody_promotes_past_those_who_have_to_agree() -> None:
    rollout, _ = awaiting()
    for consent in (None, Consent(("ana",), 2)):
        with pytest.raises(UsageError, match="needs approval") as caught:
            wish_promote(rollout, Seen(Readiness.READY, Verdict.PASS, consent=consent), "eve")
        assert caught.value.remedy == "Whoever may, agrees by: engine approve churn"
    assert isinstance(
        wish_promote(rollout, Seen(Readiness.READY, Verdict.PASS, consent=Consent(("ana", "ben"), 2)), "eve"), Promote
    )
    anybody, _ = awaiting(Terms(informal=True))
    assert isinstance(wish_promote(anybody, Seen(Readiness.READY, Verdict.PASS), "eve"), Promote)
