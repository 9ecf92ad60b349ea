"""When each trigger is due, what holds it back, and that nothing due is lost."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from triggered_model import DAY, HOUR, START, TriggeredModel, event, resolved

from engine.core.records import Aftermath, EventKind
from engine.triggers.decision import Due, Held, NotDue, Outcome, Unknown, outcome_json, outcome_of, text_of
from engine.triggers.facts import DataNow, Measured, Past, UpstreamRelease, Window, key_of
from engine.triggers.holding import hold
from engine.triggers.wall_clock import first_after, jitter_of

SOAK = os.environ.get("ENGINE_SOAK") == "1"
DRIFT = "{type: drift}"
WEEKLY = '{type: scheduled, cron: "0 0 * * 0", timezone: Europe/Berlin%s}'
SUNDAY = datetime(2026, 3, 7, 23, tzinfo=timezone.utc)  # midnight in Berlin


def said(outcome: Outcome) -> str:
    return text_of(outcome)


# ── scheduled ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_is_due_once_for_each_of_its_times() -> None:
    model = TriggeredModel(WEEKLY % "")
    outcome = model.ask()
    assert isinstance(outcome, NotDue)
    assert outcome.next_at == SUNDAY
    assert said(outcome) == "not due: next Sat 2026-03-07 23:00 UTC"
    assert isinstance(model.ask(SUNDAY - START - timedelta(seconds=1)), NotDue)
    assert isinstance(model.ask(timedelta(seconds=1)), Due)
    assert isinstance(model.ask(HOUR), Due), "until it was handled"
    model.settle(Aftermath.NOTHING_NEW)
    outcome = model.ask(HOUR)
    assert isinstance(outcome, NotDue)
    assert outcome.next_at == SUNDAY + 7 * DAY


def test_missed_times_are_made_good_by_one_retrain_or_skipped() -> None:
    once, skip = TriggeredModel(WEEKLY % ""), TriggeredModel(WEEKLY % ", catch_up: skip")
    for model in (once, skip):
        model.ask()
    assert said(once.ask(20 * DAY)) == "due: was due Sat 2026-03-07 23:00 UTC, and 2 times since"
    once.settle(Aftermath.FAILED)
    assert isinstance(once.ask(), NotDue)
    assert said(skip.ask(20 * DAY)).startswith("not due: 3 missed, skipped; next Sat 2026-03-28 23:00")
    outcome = skip.ask(SUNDAY + 21 * DAY - skip.facts.now + timedelta(minutes=5))
    assert isinstance(outcome, Due), "a little late is on time"


def test_a_run_by_hand_after_a_missed_time_makes_it_good() -> None:
    model = TriggeredModel(WEEKLY % "")
    model.ask()
    learned = model.facts.attempted
    assert learned is not None
    outcome = model.ask(7 * DAY, attempted=replace(learned, taken_at=SUNDAY + HOUR))
    assert isinstance(outcome, NotDue)


def test_jitter_is_fixed_and_spreads_models() -> None:
    delays = [jitter_of(f"model_{n}", 600) for n in range(1_000)]
    assert delays == [jitter_of(f"model_{n}", 600) for n in range(1_000)]
    assert timedelta(0) <= min(delays) < timedelta(seconds=30)
    assert timedelta(seconds=570) < max(delays) < timedelta(seconds=600)
    assert jitter_of("churn", None) == timedelta(0)
    late = jitter_of("churn", 600)
    model = TriggeredModel(WEEKLY % ", jitter: 10m")
    model.ask()
    assert isinstance(model.ask(SUNDAY + late - START - timedelta(seconds=1)), NotDue)
    assert isinstance(model.ask(timedelta(seconds=1)), Due)
    model.settle(Aftermath.NOTHING_NEW)
    outcome = model.ask()
    assert isinstance(outcome, NotDue)
    assert outcome.next_at == SUNDAY + 7 * DAY + late


def test_every_minute_for_a_year_is_counted_quickly() -> None:
    model = TriggeredModel('{type: scheduled, cron: "* * * * *"}')
    model.ask()
    assert said(model.ask(365 * DAY)).endswith("and at least 99 times since")


# ── drift and performance ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ("", "unknown: no window has closed since version 1 went live or this was last handled"),
        ("d", "not due: drift in 1 window, the only one so far, 2 of 3 needed"),
        ("..d", "not due: drift in 1 of the last 3 windows, 2 needed"),
        ("d.d", "due: drift in 2 of the last 3 windows: tenure: KS 0.30"),
        ("dd", "due: drift in 2 of the last 2 windows: tenure: KS 0.30"),
        ("dd..", "not due: drift in 1 of the last 3 windows, 2 needed"),
        ("d??d", "due: drift in 2 of the last 2 windows (2 inconclusive): tenure: KS 0.30"),
        ("???", "not due: no window says anything yet, 2 of 3 needed (3 inconclusive)"),
    ],
)
def test_drift_has_to_persist(windows: str, expected: str) -> None:
    model = TriggeredModel(DRIFT)
    model.check(windows)
    outcome = model.ask()
    assert said(outcome) == expected


def test_windows_that_were_answered_are_over() -> None:
    model = TriggeredModel(DRIFT)
    model.check("dd")
    assert isinstance(model.ask(), Due)
    model.settle(Aftermath.NOTHING_NEW)
    assert not isinstance(model.ask(), Due)
    model.check("d")
    assert not isinstance(model.ask(), Due)
    model.check("d")
    assert isinstance(model.ask(), Due), "it drifts on: is there something new by now?"
    model.settle(Aftermath.RELEASED)
    model.check(".")
    assert isinstance(model.ask(), NotDue)


def measured(*values: float, labels: int = 1_000, name: str = "accuracy", final: bool = True) -> tuple[Window, ...]:
    return tuple(
        Window(
            str(n),
            START + n * DAY,
            START + (n + 1) * DAY,
            1,
            metrics={name: Measured(value, labels, 2_000)},
            labels_final=final,
        )
        for n, value in reversed(list(enumerate(values)))
    )


@pytest.mark.parametrize(
    ("trigger", "windows", "due"),
    [
        ("{type: performance, metric: accuracy, threshold: 0.8}", measured(0.79, 0.85, 0.78), True),
        ("{type: performance, metric: accuracy, threshold: 0.8}", measured(0.79, 0.85, 0.8), False),
        ("{type: performance, metric: accuracy, drop: 5%}", measured(0.85, 0.85), True),  # 0.855 is allowed
        ("{type: performance, metric: accuracy, drop: 5%}", measured(0.86, 0.86), False),
        ("{type: performance, metric: rmse, drop: 10%}", measured(2.3, 2.3, name="rmse"), True),  # lower is better
        ("{type: performance, metric: rmse, drop: 10%}", measured(2.1, 2.1, name="rmse"), False),
        ("{type: performance, metric: accuracy, threshold: 0.8}", measured(0.1, 0.1, labels=499), False),
        ("{type: performance, metric: accuracy, threshold: 0.8, min_coverage: 60%}", measured(0.1, 0.1), False),
        ("{type: performance, metric: accuracy, threshold: 0.8}", measured(0.1, 0.1, final=False), False),
        ("{type: performance, metric: accuracy, threshold: 0.8}", measured(float("nan"), float("nan")), False),
    ],
)
def test_performance(trigger: str, windows: tuple[Window, ...], due: bool) -> None:
    outcome = TriggeredModel(trigger, windows=windows).ask(5 * DAY)
    assert isinstance(outcome, Due) is due, said(outcome)


def test_a_drop_from_nothing_is_unknown() -> None:
    model = TriggeredModel("{type: performance, metric: f1_score, drop: 5%}")
    assert said(model.ask()) == "unknown: version 1 has no f1_score of its own to compare with"


# ── data, freshness, upstream, requests ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("trigger", "data", "after", "expected"),
    [
        ("{type: data}", DataNow("blake3:old", 1_000), DAY, "not due"),
        ("{type: data}", DataNow("blake3:new"), DAY, "due"),
        ("{type: data}", None, DAY, "unknown"),
        ("{type: data, min_new_rows: 500}", DataNow("blake3:new", 1_499), DAY, "not due: 499 of 500 new rows"),
        ("{type: data, min_new_rows: 500}", DataNow("blake3:new", 1_500), DAY, "due: 500 new rows"),
        ("{type: data, min_new_rows: 500}", DataNow("blake3:new"), DAY, "unknown"),
        (
            "{type: data, min_new_rows: 500}",
            DataNow("blake3:new", 900),
            DAY,
            "not due: changed, and 100 rows fewer",
        ),
        ("{type: data, min_new_rows: 500, max_age: 7d}", DataNow("blake3:new", 1_001), 6 * DAY, "due"),
        ("{type: data, min_new_rows: 500, max_age: 7d}", DataNow("blake3:new", 1_001), 5 * DAY, "not due"),
        ("{type: data, max_age: 7d}", DataNow("blake3:old", 1_000), 9 * DAY, "not due: unchanged"),
    ],
)
def test_data(trigger: str, data: DataNow | None, after: timedelta, expected: str) -> None:
    assert said(TriggeredModel(trigger).ask(after, data=data)).startswith(expected)


def test_data_that_a_gate_refused_is_not_tried_again() -> None:
    model = TriggeredModel("{type: data}")
    assert isinstance(model.ask(data=DataNow("blake3:new", 1_100)), Due)
    model.settle(Aftermath.STOPPED)
    assert isinstance(model.ask(DAY), NotDue)
    assert isinstance(model.ask(DAY, data=DataNow("blake3:newer", 1_200)), Due)


def test_freshness_asks_each_day_until_something_younger_is_live() -> None:
    model = TriggeredModel("{type: freshness, max_age: 30d}")
    outcome = model.ask()
    assert isinstance(outcome, NotDue)
    assert outcome.next_at == START + 29 * DAY
    assert isinstance(model.ask(29 * DAY), Due)
    model.settle(Aftermath.NOTHING_NEW)
    assert isinstance(model.ask(23 * HOUR), NotDue)
    assert isinstance(model.ask(HOUR), Due)
    model.settle(Aftermath.RELEASED)
    assert isinstance(model.ask(29 * DAY), NotDue)
    assert isinstance(model.ask(DAY), Due)


def test_upstream() -> None:
    model = TriggeredModel("{type: upstream, model: embeddings}")
    assert isinstance(model.ask(), Unknown)
    old = UpstreamRelease(3, START - 9 * DAY, START - 8 * DAY)
    assert isinstance(model.ask(upstream={"embeddings": old}), NotDue)
    registered = UpstreamRelease(4, START + HOUR)
    assert isinstance(model.ask(2 * HOUR, upstream={"embeddings": registered}), NotDue)
    deployed = replace(registered, deployed_at=START + 3 * HOUR)
    assert isinstance(model.ask(2 * HOUR, upstream={"embeddings": deployed}), Due)
    model.settle(Aftermath.NOTHING_NEW)
    assert isinstance(model.ask(HOUR), NotDue), "the same release once"


def test_requests() -> None:
    model = TriggeredModel("[{type: webhook, event: push}, {type: manual}]")
    push, other = event("1", EventKind.WEBHOOK, "push"), event("2", EventKind.WEBHOOK, "star")
    assert isinstance(model.ask(events=(other,)), NotDue)
    outcome = model.ask(events=(other, push, event("3")))
    assert isinstance(outcome, Due)
    assert outcome.events == ("1", "3")
    model.settle(Aftermath.RELEASED)
    assert isinstance(model.ask(), NotDue)


def test_a_person_may_always_ask() -> None:
    for trigger in (None, DRIFT, f"{{any_of: [{DRIFT}], freeze: [{{from: 2026-01-01, to: 2026-12-31}}]}}"):
        outcome = TriggeredModel(trigger).ask(events=(event("1"),))
        assert isinstance(outcome, Due), said(outcome)
        assert outcome.events == ("1",)
        assert "asked for by ana: new prices" in outcome.reason


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_never_makes_due() -> None:
    data = "{type: data}"
    both = TriggeredModel(f"{{all_of: [{data}, {{type: manual}}]}}")
    assert isinstance(both.ask(data=None, events=(event("1"),)), Unknown)
    assert isinstance(both.ask(data=None, events=()), NotDue)
    either = TriggeredModel(f"[{data}, {{type: manual}}]")
    assert "data: unknown, the data was not observed" in said(either.ask(data=None))
    assert isinstance(either.ask(data=None, events=(event("1"),)), Due)


def test_groups_nest_and_one_that_forces_is_enough() -> None:
    model = TriggeredModel("{all_of: [{type: data, force: true}, {any_of: [{type: webhook}, {type: manual}]}]}")
    assert isinstance(model.ask(data=DataNow("blake3:new")), NotDue)
    outcome = model.ask(events=(event("1"),))
    assert isinstance(outcome, Due)
    assert outcome.force
    assert outcome.events == ("1",)


def test_what_a_trigger_is_outlives_its_place_and_its_options() -> None:
    assert key_of(resolved(f"[{DRIFT}, {{type: data}}]")) == key_of(
        resolved(f"{{any_of: [{{type: data, cooldown: 1d}}, {DRIFT}], budget: 3 per week}}")
    )
    assert key_of(resolved(DRIFT)) != key_of(resolved("{type: drift, alpha: 0.05}"))


# ── what holds back ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_cooldown_holds_and_loses_nothing() -> None:
    model = TriggeredModel(f"{{any_of: [{{type: data}}, {DRIFT}], cooldown: 1d}}")
    assert isinstance(model.ask(data=DataNow("blake3:1", 1_100)), Due)
    model.settle(Aftermath.RELEASED)
    outcome = model.ask(HOUR, data=DataNow("blake3:2", 1_200))
    assert isinstance(outcome, Held)
    assert outcome.until == START + DAY
    assert "cooldown of 1d" in outcome.reason
    assert isinstance(model.ask(DAY - HOUR), Due)


def test_what_was_held_stays_due_when_its_cause_passes() -> None:
    quiet = f"{{any_of: [{DRIFT}], freeze: [{{from: 2026-03-01, to: 2026-03-10}}]}}"
    model = TriggeredModel(quiet)
    model.check("dd")
    outcome = model.ask()
    assert isinstance(outcome, Held)
    assert outcome.until == datetime(2026, 3, 11, tzinfo=timezone.utc)
    model.check("....")
    assert isinstance(model.ask(), Held)
    outcome = model.ask(outcome.until - model.facts.now)
    assert isinstance(outcome, Due)
    assert "drift in 2 of the last 2 windows" in outcome.reason
    model.settle(Aftermath.RELEASED)
    assert not isinstance(model.ask(HOUR), Due)


def test_training_by_hand_while_something_is_held_makes_it_good() -> None:
    model = TriggeredModel(f"{{any_of: [{DRIFT}], freeze: [{{from: 2026-03-01, to: 2026-03-10}}]}}")
    model.check("dd")
    assert isinstance(model.ask(), Held)
    learned, champion = model.facts.attempted, model.facts.champion
    assert learned is not None
    assert champion is not None
    now = model.facts.now + HOUR
    outcome = model.ask(
        9 * DAY, attempted=replace(learned, taken_at=now), champion=replace(champion, version=2, live_since=now)
    )
    assert not isinstance(outcome, Due | Held)


def test_a_budget_counts_retrains_and_not_looks() -> None:
    model = TriggeredModel("{any_of: [{type: data}], budget: 2 per week}")
    aftermaths = (Aftermath.NOTHING_NEW, Aftermath.FAILED, Aftermath.NOTHING_NEW, Aftermath.RELEASED)
    for number, aftermath in enumerate(aftermaths):
        assert isinstance(model.ask(DAY, data=DataNow(f"blake3:{number}")), Due)
        model.settle(aftermath)
    outcome = model.ask(DAY, data=DataNow("blake3:more"))
    assert isinstance(outcome, Held)
    assert outcome.until == model.retrains[0] + 7 * DAY


def test_quiet_hours_over_midnight_and_a_change_of_the_clock() -> None:
    quiet = '{any_of: [{type: data}], quiet_hours: {from: "22:00", to: "06:00", timezone: Europe/Berlin}}'
    block, berlin = resolved(quiet), ZoneInfo("Europe/Berlin")
    for text, until in (
        ("2026-03-28 22:00", "2026-03-29 06:00"),  # 7 hours, the clock is put forward
        ("2026-03-29 05:59", "2026-03-29 06:00"),
        ("2026-03-29 06:00", None),
        ("2026-03-29 21:59", None),
        ("2026-10-25 00:30", "2026-10-25 06:00"),
    ):
        at = datetime.fromisoformat(text).replace(tzinfo=berlin)
        found = hold(block, Past(), at)
        end = datetime.fromisoformat(until).replace(tzinfo=berlin) if until else None
        assert (found.until if found else None) == end


def test_holds_that_touch_are_one() -> None:
    block = resolved(
        "{any_of: [{type: data}], cooldown: 1d, quiet_hours: {from: '08:00', to: '20:00'},"
        " freeze: [{from: 2026-03-03, to: 2026-03-04}]}"
    )
    found = hold(block, Past(retrains=(START,)), START + HOUR)
    assert found is not None
    assert found.until == datetime(2026, 3, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "UTC"])
def test_the_first_moment_after_is_at_most_a_day_away(zone: str) -> None:
    pick = random.Random(7)
    for _ in range(300):
        after = datetime(2010, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=pick.randrange(15 * 525_600))
        clock = datetime(2020, 1, 1, pick.randrange(24), pick.randrange(60)).time()
        found = first_after(clock, ZoneInfo(zone), after)
        assert after < found <= after + timedelta(hours=49)
        local = found.astimezone(ZoneInfo(zone))
        shown = local.time() == clock
        gap = local.utcoffset() != (found - timedelta(minutes=1)).astimezone(ZoneInfo(zone)).utcoffset()
        assert shown or gap


def test_outcomes_are_json() -> None:
    due = Due("data", "why", {"rows": 3}, ("1",), True)
    for outcome in (
        due,
        Held("data", "later", START, START - DAY, due),
        NotDue("data", "no", START),
        Unknown("a", "b"),
    ):
        assert outcome_of(outcome_json(outcome)) == outcome


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ('quiet_hours: {from: "22:00", to: "22:00"}', "end when they begin"),
        ('quiet_hours: {from: "24:00", to: "06:00"}', "not a time of day"),
        ('quiet_hours: {from: "22:00", to: "06:00", timezone: Mars/Base}', "no time zone"),
        ("freeze: [{from: 2026-12-20, to: 2026-12-19}]", "before it begins"),
        ("freeze: [{from: 2026-02-30, to: 2026-12-19}]", "there is no day 2026-02-30"),
    ],
)
def test_options_that_cannot_be_are_mistakes(options: str, what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        resolved(f"{{any_of: [{{type: data}}], {options}}}")


# ── a year without drift ─────────────────────────────────────────────────────────────────────────────────────


def test_a_year_of_daily_checks_without_drift_retrains_at_most_once() -> None:
    """Each check is a false alarm with probability 0.01, the most that a detector may have; 2 of 3 windows are needed.

    0.08 retrains a year are expected, and more than one in a year of 400.
    """
    pick = random.Random(20260101)
    years = []
    for _ in range(1_000 if SOAK else 40):
        model = TriggeredModel(DRIFT)
        for _ in range(365):
            model.check("d" if pick.random() < 0.01 else ".")
            model.stored = [each for each in model.stored if each.status == "due"]
            if isinstance(model.ask(), Due):
                model.settle(Aftermath.RELEASED)
            model.facts = replace(model.facts, windows=model.facts.windows[:10])
        years.append(len(model.retrains))
    assert sum(count > 1 for count in years) <= len(years) * 0.01
    assert 0 < sum(years) / len(years) < 0.2


# ── what is on trial, and what was told late ─────────────────────────────────────────────────────────────────


def test_nothing_is_asked_again_while_the_answer_is_on_trial() -> None:
    model = TriggeredModel("{type: drift, persistence: 1 of 1}")
    model.check("d")
    outcome = model.ask(HOUR, on_trial=2)
    assert isinstance(outcome, NotDue)
    assert "version 2 is on trial for it" in said(outcome)
    assert isinstance(model.ask(HOUR, on_trial=None), Due), "it was sent away"


def test_labels_that_were_complete_after_the_last_retrain_count() -> None:
    model = TriggeredModel("{type: performance, metric: accuracy, drop: 5%, min_labels: 10, persistence: 1 of 1}")

    def window(day: int, complete: bool) -> Window:
        start = START + (day - 1) * DAY
        measured = {"accuracy": Measured(0.5, 100 if complete else 0, 100)}
        return Window(f"{day}", start, start + DAY, 1, {}, measured, complete, start + 8.5 * DAY if complete else None)

    assert isinstance(model.ask(9 * DAY, windows=(window(2, False), window(1, True))), Due)
    model.settle(Aftermath.STOPPED)
    assert not isinstance(model.ask(timedelta(minutes=1), windows=(window(2, False), window(1, True))), Due)
    assert isinstance(model.ask(DAY, windows=(window(2, True), window(1, True))), Due), "it was silent until now"
