"""Which alerts fire, and which notice is due: pure decisions, and a simulated year of flapping."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.alerts import (
    Alert,
    AlertRecord,
    Facts,
    Later,
    Notice,
    Receiver,
    Told,
    decide,
    failed,
    firing,
    groups_of,
    in_turn,
    record,
    sent,
)
from engine.core.canonical import utc
from engine.core.monitoring import Breach
from engine.core.notice_text import lines_of, title_of
from engine.core.records import Aftermath, Endpoint, Run, RunStatus, TriggerEvaluation
from engine.core.rollout import Phase, Rollout
from engine.core.stages import Stage, Strategy

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
OPS = Receiver("ops", wait=10, interval=60, repeat=3600)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def alert(name: str = "RunFailed", severity: str = "warning", **labels: str) -> Alert:
    return Alert("churn", name, severity, f"{name} happened", "", labels)


class World:
    """Alerts as they come and go, and one receiver that takes every notice at once."""

    def __init__(self, receiver: Receiver = OPS) -> None:
        self.receiver = receiver
        self.records: dict[str, AlertRecord] = {}
        self.told: dict[str, Told] = {}
        self.notices: list[Notice] = []

    def see(self, seconds: float, *found: Alert, controller: str = "here") -> None:
        for each in record(tuple(self.records.values()), found, controller, at(seconds)):
            self.records[each.fingerprint] = each

    def step(self, seconds: float, *, works: bool = True) -> list[Notice]:
        """What is sent now."""
        now, made = at(seconds), []
        for group, members in in_turn(groups_of(tuple(self.records.values()), self.receiver), self.told):
            told = self.told.setdefault(group, Told("churn", "ops", group, utc(START)))
            recent = [moment for each in self.told.values() for moment in each.recent]
            outcome = decide(members, told, self.receiver, "lineage", now, recent)
            if isinstance(outcome, Notice):
                made.append(outcome)
                after = sent(told, outcome, members, self.receiver) if works else failed(told, "no", now, 30)
                self.told[group] = after
        self.notices += made if works else []
        return made


def test_what_comes_together_is_told_together_once_and_again_when_it_is_over() -> None:
    world = World()
    world.see(0, alert())
    assert world.step(0) == [], "others may come"
    world.see(5, alert(), alert("RolloutAborted"))
    [first] = world.step(10)
    assert [each.alert.name for each in first.firing] == ["RunFailed", "RolloutAborted"]
    world.see(20, alert(), alert("RolloutAborted"))
    assert world.step(300) == [], "it is known"
    world.see(301, alert("RolloutAborted"))
    [second] = world.step(301)
    assert ([each.alert.name for each in second.resolved], second.status) == (["RunFailed"], "firing")
    world.see(310)
    assert world.step(310) == [], "not before the interval"
    [last] = world.step(361)
    assert (last.status, len(last.alerts)) == ("resolved", 1)
    assert world.step(9000) == [], "nothing is repeated that is over"


def test_what_goes_on_is_repeated_and_flapping_is_not() -> None:
    world = World()
    for second in range(0, 3000, 20):
        world.see(second, *([alert()] if second % 40 == 0 else []))
        world.step(second)
    assert len(world.notices) <= 3000 / OPS.interval, "at most one notice in an interval"
    steady = World()
    steady.see(0, alert())
    for second in range(0, 4 * 3600, 30):
        steady.step(second)
    assert len(steady.notices) == 4
    assert len({each.id for each in steady.notices}) == 4, "a repetition is a notice of its own"


def test_a_receiver_that_was_away_hears_of_what_it_missed() -> None:
    world = World()
    world.see(0, alert())
    assert world.step(10, works=False)
    assert world.step(20, works=False) == [], "not before its wait is over"
    world.see(100)
    [missed] = world.step(120)
    assert (missed.status, missed.resolved[0].alert.name) == ("resolved", "RunFailed")
    assert world.step(9000) == []


def test_the_same_notice_has_the_same_id_until_it_was_taken() -> None:
    world = World()
    world.see(0, alert())
    [first], [again] = world.step(10, works=False), world.step(60, works=False)
    assert first.id == again.id
    world.see(61, alert(), alert("RolloutAborted"))
    [other] = world.step(120)
    assert other.id != first.id, "it says something else"


def test_no_more_is_told_than_the_limit_lets_through_and_nothing_is_lost() -> None:
    world = World(replace(OPS, limit=(2, 3600.0), interval=1, apart=True))
    for number in range(6):
        world.see(number, *(alert(f"Kind{each}") for each in range(number + 1)))
    for second in range(0, 4 * 3600, 60):
        world.step(second)
    moments = [each.at for each in world.notices]
    assert all(
        (datetime.fromisoformat(later[:-1]) - datetime.fromisoformat(earlier[:-1])).total_seconds() >= 3600
        for earlier, later in zip(moments, moments[2:], strict=False)
    )
    assert {each.group for each in world.notices} == {f"Kind{each}" for each in range(6)}


def test_severity_and_resolved_are_as_the_receiver_asks() -> None:
    world = World(replace(OPS, severity="critical", resolved=False))
    world.see(0, alert(), alert("RolledBack", "critical"))
    [only] = world.step(10)
    assert [each.alert.name for each in only.alerts] == ["RolledBack"]
    world.see(100)
    assert world.step(5000) == []
    world.see(6000, alert("RolledBack", "critical"))
    [again] = world.step(6010)
    assert again.status == "firing"


def test_what_is_wrong_with_another_controller_is_left_to_it_for_a_while() -> None:
    world = World()
    trouble = alert("ControllerFails", "critical", controller="there")
    world.see(0, trouble, controller="there")
    world.see(60, controller="here")
    assert [each.status for each in world.records.values()] == ["firing"]
    world.see(700, trouble, controller="there")
    world.see(3700, controller="here")
    assert [each.status for each in world.records.values()] == ["firing"], "it was said again"
    world.see(4400, controller="here")
    assert [each.status for each in world.records.values()] == ["resolved"], "that controller is gone"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.sets(st.sampled_from("abc")), st.booleans()), min_size=1, max_size=40)
)
def test_whatever_happens_a_receiver_ends_up_knowing_the_truth(story: list[tuple[int, set[str], bool]]) -> None:
    world, second = World(), 0
    for wait, names, works in story:
        second += wait
        world.see(second, *(alert(name) for name in sorted(names)))
        world.step(second, works=works)
    for _ in range(3):  # and then it is left alone
        second += 200
        world.step(second)
    believed = {
        fingerprint for each in world.told.values() for fingerprint, said in each.alerts.items() if said[1] == "firing"
    }
    assert believed == {each.fingerprint for each in world.records.values() if each.status == "firing"}
    assert len({each.id for each in world.notices}) == len(world.notices)


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────

RUN = Run("run1", "churn", RunStatus.FAILED, utc(at(5)), utc(at(9)), "", {}, "train: out of memory")
LIVE = Endpoint("churn", 3, stable=2, previous=1)
ROLLOUT = Rollout(
    "churn", 1, 3, 2, Strategy("canary", (Stage(0.1),)), Phase.ABORTED, 0, 2, 2, utc(START), utc(START), reason="errors"
)


def names(facts: Facts) -> list[str]:
    return [each.name for each in firing(facts)]


def test_each_fact_is_an_alert_and_ends_with_it() -> None:
    assert names(Facts("churn", LIVE, run=replace(RUN, status=RunStatus.DONE))) == []
    breach = Breach("metric", "accuracy", "alert", "accuracy 0.6 is below 0.8", (4,))
    [found] = firing(Facts("churn", LIVE, breaches=[breach]))
    assert (found.name, found.severity, found.labels["release"]) == ("MonitoringBreach", "critical", "2")
    assert names(Facts("churn", LIVE, run=RUN)) == ["RunFailed"]
    due = TriggerEvaluation("churn", "due", "", {}, utc(START), utc(START), 1, 1, Aftermath.FAILED, "run1", utc(at(9)))
    assert names(Facts("churn", LIVE, run=RUN, evaluation=due)) == ["RetrainFailed"]
    assert names(Facts("churn", LIVE, run=replace(RUN, status=RunStatus.STOPPED))) == ["CandidateRefused"]
    aborted = replace(LIVE, aborted="errors")
    assert names(Facts("churn", aborted, rollout=ROLLOUT)) == ["RolloutAborted"]
    assert names(Facts("churn", LIVE, rollout=ROLLOUT)) == [], "something else was deployed since"
    assert names(Facts("churn", replace(LIVE, aborted="breach: x"), rollout=ROLLOUT)) == ["RolledBack"]


def test_drift_with_nothing_to_learn_from_is_an_alert_until_a_run_is_done() -> None:
    due = TriggerEvaluation("churn", "due", "", {}, utc(START), utc(START), 1, 1, Aftermath.NOTHING_NEW, "", utc(at(9)))
    assert names(Facts("churn", LIVE, evaluation=due, alarming=True)) == ["NothingNewToLearn"]
    assert names(Facts("churn", LIVE, evaluation=due)) == [], "a schedule without new data is no alarm"
    later = replace(RUN, status=RunStatus.DONE, started_at=utc(at(20)))
    assert names(Facts("churn", LIVE, evaluation=due, alarming=True, run=later)) == []


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_template_puts_values_in_as_they_are() -> None:
    odd = replace(alert(), summary="a\r\nBcc: x@example.org ${model} $severity {0} \x00")
    notice = Notice("1", "churn", "ops", "", utc(START), (AlertRecord(odd, 1, utc(START), utc(START)),))
    [line] = lines_of(notice, "${severity}: ${summary} $$5")
    assert line == "warning: a Bcc: x@example.org ${model} $severity {0} $5"
    assert title_of(notice, "${model} has ${firing}") == "churn has 1"
    assert isinstance(decide((), Told("churn", "ops", "", ""), OPS, "", START, ()), Later)
