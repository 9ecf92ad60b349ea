"""Who a candidate is held against, and that its own promotion changes no plan."""

from __future__ import annotations

from typing import Any

from engine.core.champion import COMPARED_WITH, Champion, champion_of
from engine.core.fingerprint import Observations, fingerprint
from engine.core.graph import Against, FromStep, Step
from engine.core.planner import explain
from engine.core.records import Artifact, Endpoint, Release, StepResult

STEP = Step(
    "examine",
    "examine",
    inputs={
        "holdout": FromStep("split", "holdout"),
        "champion": Against(FromStep("train", "model"), FromStep("split", "holdout")),
    },
)


def release(version: int, compared: int | None = None) -> Release:
    evidence: dict[str, Any] = {"artifacts": {"holdout": f"rows{version}"}}
    evidence[COMPARED_WITH] = None if compared is None else {"version": compared}
    return Release("m", version, f"key{version}", "run", "uri", Artifact(f"model{version}", 1, "model"), evidence)


def results(version: int) -> dict[str, StepResult]:
    made = {"train": ("model", f"model{version}"), "split": ("holdout", f"rows{version}")}
    return {step: StepResult(step, "", {}, {role: Artifact(digest, 1, role)}) for step, (role, digest) in made.items()}


def seen(champion: Champion | None, candidate: int) -> Any:
    found = fingerprint(STEP, results(candidate), Observations(champion=champion))
    assert found is not None
    return found


RELEASES = [release(1), release(2, compared=1), release(3, compared=2)]


def test_the_first_candidate_has_nobody_and_keeps_nobody() -> None:
    before = seen(champion_of(None, []), 1)
    after = seen(champion_of(Endpoint("m", stable=1), RELEASES[:1]), 1)
    assert before.components["inputs"]["champion"] == "none" and before == after


def test_promotion_and_rollback_to_what_it_was_held_against_change_nothing() -> None:
    waiting = seen(champion_of(Endpoint("m", stable=1, candidate=2), RELEASES[:2]), 2)
    assert waiting.components["inputs"]["champion"] == "version 1, model1"
    assert seen(champion_of(Endpoint("m", stable=2, previous=1), RELEASES[:2]), 2) == waiting
    assert seen(champion_of(Endpoint("m", stable=1, previous=2), RELEASES[:2]), 2) == waiting


def test_another_champion_is_another_input_and_is_named() -> None:
    before = seen(champion_of(Endpoint("m", stable=2), RELEASES), 3)
    after = seen(champion_of(Endpoint("m", stable=1), RELEASES), 3)
    assert before != after
    reason = explain(STEP, before.components, after.components)
    assert (reason.field, reason.before, reason.after) == ("champion", "version 2, model2", "version 1, model1")


def test_the_same_model_on_other_rows_is_held_against_itself() -> None:
    champion = champion_of(Endpoint("m", stable=2), RELEASES)
    assert champion is not None
    opponent = champion.against("model2", "rows3")
    assert opponent is not None and opponent.version == 2
    gone = champion_of(Endpoint("m", stable=9), RELEASES)
    assert gone is None
