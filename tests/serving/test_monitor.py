"""A monitor over a real log: each window judged once, labels that come late, what breaches a limit, two at once."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from click import unstyle
from logged import CANDIDATE, STABLE, Writer, asked, said

from engine import failpoints
from engine.adapters.detectors.find import check_block
from engine.adapters.monitoring import SqlMonitoring
from engine.app.inspecting import Triggers
from engine.app.monitoring import Monitored
from engine.cli.monitoring import monitored_document, monitored_sections
from engine.cli.monitoring_html import monitored_html
from engine.cli.sections import plain
from engine.core.canonical import utc
from engine.core.monitoring import (
    FigureLimit,
    MetricLimit,
    QualityLimits,
    ServiceLimits,
    Settings,
    Window,
    WindowReport,
    breaches,
    settings_of,
)
from engine.core.records import Event, EventKind, TriggerEvaluation
from engine.core.verdict import Verdict
from engine.errors import StateError
from engine.runtime.monitor import Looked, Monitor, closes_in
from engine.runtime.reference import Reference, reference_of
from engine.runtime.trigger_windows import trigger_windows
from engine.serving.feedback import Desk, Label
from engine.serving.prediction_log_format import FORCED
from engine.serving.prediction_log_served import ServedLog
from engine.serving.wire import Reply
from engine.stats.drift import Column, profile_of
from engine.triggers.decision import Due, Held, NotDue, Outcome, status_of
from engine.triggers.evaluation import judged_json
from engine.triggers.group import Judged

HOUR = timedelta(hours=1)
SETTINGS = Settings(
    rows=120,
    min_labels=60,
    metrics=(MetricLimit("rollback", metric="accuracy", threshold=0.7), MetricLimit(metric="roc_auc")),
    figures=(FigureLimit(name="wasted", expression='sum(prediction == "yes" and actual == "no") * 2', high=50),),
    quality=QualityLimits(),
    service=ServiceLimits(error_rate=0.01, latency_p99=0.1),
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Of a hold-out in which a score of p is right with probability p."""
    folder = tmp_path_factory.mktemp("reference")
    draw = random.Random(0)
    rows = []
    for _ in range(1500):
        score = draw.random()
        truth = "yes" if draw.random() < score else "no"
        rows.append((round(score * 60), draw.choice(["ä", "b"]), truth, "yes" if score > 0.5 else "no", score))
    frame = pd.DataFrame(rows, columns=["months", "plan", "churned", "prediction", "probability_yes"])
    schema = {
        "task": "binary", "target": "churned", "classes": ["no", "yes"], "positive": "yes",
        "features": [{"name": "months", "kind": "numeric"}, {"name": "plan", "kind": "categorical"}], "rows": {},
    }  # fmt: skip
    (folder / "schema.json").write_text(json.dumps(schema))
    frame[["months", "plan", "churned"]].to_parquet(folder / "holdout.parquet")
    said = frame.assign(truth=frame["churned"], probability_no=1 - frame["probability_yes"])
    said[["truth", "prediction", "probability_no", "probability_yes"]].to_parquet(folder / "predictions.parquet")
    profile = profile_of(
        [
            Column("months", "numeric", frame["months"].to_numpy()),
            Column("plan", "categorical", frame["plan"].to_numpy()),
            Column("prediction", "categorical", frame["prediction"].to_numpy(), "prediction"),
            Column("score", "numeric", frame["probability_yes"].to_numpy(), "prediction"),
        ]
    )
    (folder / "reference.profile").write_bytes(profile.to_bytes())
    names = ("schema.json", "holdout.parquet", "predictions.parquet", "reference.profile")
    return reference_of({name.partition(".")[0]: folder / name for name in names}, {"metrics": {}})


class World:
    """A log, its labels, a store and a clock."""

    def __init__(self, folder: Path, reference: Reference) -> None:
        self.folder = folder
        self.log = Writer(folder)
        self.store = SqlMonitoring(f"sqlite:///{folder / 'monitoring.db'}")
        self.now = datetime.now(timezone.utc) + timedelta(minutes=1)
        self.monitor = Monitor(
            ServedLog(folder), self.store, lambda model, version: reference, lambda: self.now, check_block
        )
        self.draw = random.Random(1)
        self.truth: dict[str, str] = {}

    def predict(self, count: int, **more: Any) -> list[str]:
        """Rows like those of the hold-out; their ids."""
        return [self.one(**more) for _ in range(count)]

    def one(self, months: float | None = None, right: bool = True, **more: Any) -> str:
        score = round(self.draw.random(), 3)
        likely = self.draw.random() < score
        row = {"months": round(score * 60) if months is None else months, "plan": self.draw.choice(["ä", "b"])}
        request = asked()._replace(body=json.dumps({"instances": [row]}).encode())
        reply = said("yes" if score > 0.5 else "no", score)
        id_ = self.log.add(**{"reply": reply, "asked": request, **more})
        self.truth[id_] = "yes" if likely == right else "no"
        return id_

    def tell(self, ids: list[str]) -> None:
        """Feedback with what is true."""
        self.log.flush()
        desk = Desk(self.folder, "churn")
        taken = desk.take([Label(id_, self.truth[id_]) for id_ in ids])
        desk.close()
        assert taken.accepted == len(ids)

    def look(self, settings: Settings = SETTINGS) -> Any:
        self.log.flush()
        return self.monitor.look("churn", STABLE.version, settings)

    def reports(self) -> list[WindowReport]:
        """Oldest first."""
        return list(reversed(self.store.reports("churn")))


@pytest.fixture
def world(tmp_path: Path, reference: Reference) -> World:
    return World(tmp_path, reference)


def verdicts(report: WindowReport) -> dict[str, Verdict]:
    return {f"{check.kind} {check.name}": check.verdict for check in report.checks}


def test_windows_are_cut_of_what_the_stable_release_served(world: World) -> None:
    ids = world.predict(100)
    world.predict(30, place=CANDIDATE)  # another release's
    world.predict(30, way=FORCED)  # nobody's traffic
    ids += world.predict(50)
    first = world.look()
    assert [report.window.rows for report in first.judged] == [120]
    assert (first.judged[0].window.first, first.judged[0].window.last) == (ids[0], ids[119])
    assert (first.open.number, first.open.rows) == (2, 30)
    assert world.look().judged == ()  # once
    ids += world.predict(90)
    [second] = world.look().judged
    assert (second.window.number, second.window.first, second.window.last) == (2, ids[120], ids[239])
    assert world.reports() == [*first.judged, second]


@pytest.mark.parametrize("point", ["monitor.add", "monitor.update"])
def test_interrupted_at_a_named_place_and_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    settings = replace(SETTINGS, delay=3 * 3600.0)
    ids = world.predict(120)
    if point == "monitor.update":
        world.look(settings)
    world.tell(ids[:90])
    monkeypatch.setenv("ENGINE_FAILPOINTS", f"{point}=error")
    monkeypatch.setattr(failpoints, "_hits", {})
    with pytest.raises(RuntimeError, match=point):
        world.look(settings)
    monkeypatch.delenv("ENGINE_FAILPOINTS")
    looked = world.look(settings)
    [report] = world.reports()
    assert report in (*looked.judged, *looked.updated)
    assert (report.window.number, report.labelled) == (1, 90)
    assert world.look(settings).judged == ()


def test_labels_that_come_late_are_taken_in_until_the_window_is_final(world: World) -> None:
    ids = world.predict(120)
    settings = replace(SETTINGS, delay=3 * 3600.0)
    [report] = world.look(settings).judged
    assert (report.labelled, report.final) == (0, False)
    assert report.performance["accuracy"].reason == "no actual value is known yet"
    world.tell(ids[:40])
    [report] = world.look(settings).updated
    assert (report.labelled, report.performance["accuracy"].rows) == (40, 40)
    assert report.performance["accuracy"].reason == "40 labels, 60 needed"
    assert verdicts(report)["metric accuracy"] is Verdict.INCONCLUSIVE
    assert world.look(settings).updated == ()  # nothing new
    world.tell(ids[40:90])
    [report] = world.look(settings).updated
    served = ServedLog(world.folder).served("churn", STABLE.version, "")
    right = [row.prediction == world.truth[row.id] for row in served if row.actual is not None]
    assert (len(right), report.performance["accuracy"].value) == (90, pytest.approx(sum(right) / 90))
    assert verdicts(report)["metric accuracy"] is Verdict.INCONCLUSIVE  # labels are still waited for
    world.now += 4 * HOUR
    [report] = world.look(settings).updated
    assert (report.labelled, report.final, report.coverage) == (90, True, 0.75)
    assert verdicts(report)["metric accuracy"] in (Verdict.PASS, Verdict.INCONCLUSIVE)
    world.tell(ids[90:])
    assert world.look(settings).updated == ()  # final is final
    assert world.reports() == [report]
    [window] = trigger_windows([report], settings)
    assert (window.metrics["accuracy"].labels, window.metrics["accuracy"].predictions) == (90, 120)
    assert window.labels_final


def test_without_a_delay_a_window_is_final_when_all_labels_are_there(world: World) -> None:
    ids = world.predict(120)
    world.tell(ids[:119])
    [report] = world.look().judged
    assert not report.final
    assert report.performance["accuracy"].rows == 119
    assert trigger_windows([report], SETTINGS)[0].labels_final
    world.tell(ids[119:])
    [report] = world.look().updated
    assert report.final
    assert world.store.pending("churn") == []


def test_a_model_that_became_worse_breaches_its_limits(world: World) -> None:
    world.tell([*world.predict(120), *world.predict(120, right=False)])
    good, bad = world.look().judged
    assert Verdict.FAIL not in verdicts(good).values()
    assert good.figures["wasted"].rows == 120
    assert {name for name, verdict in verdicts(bad).items() if verdict is Verdict.FAIL} == {
        "metric accuracy",
        "kpi wasted",
    }
    worse = bad.performance["accuracy"]
    assert worse.high is not None and worse.high < 0.7
    estimated = bad.estimated["accuracy"]  # which cannot see it
    assert estimated.low is not None and estimated.low > worse.high
    assert good.estimated["accuracy"].low <= good.performance["accuracy"].value <= good.estimated["accuracy"].high  # type: ignore[operator]


def test_broken_features_failures_and_slowness_are_seen(world: World) -> None:
    request = asked()._replace(body=json.dumps({"instances": [{"months": 500, "plan": "new"}]}).encode())
    world.predict(100, asked=request, seconds=0.4)
    for _ in range(20):
        world.log.add(reply=Reply(0, 500, 1, 0.0, 0.0, b"", b'{"error": "it broke"}'))
    [report] = world.look().judged
    assert (report.failed, report.coverage) == (20, 0)
    assert report.features["months"].out_of_range == 1
    assert report.features["months"].constant
    assert (report.features["plan"].unseen, report.features["plan"].examples) == (1, ("new",))
    found = verdicts(report)
    assert [found[name] for name in ("quality out_of_range", "quality unseen", "service error_rate")] == [
        Verdict.FAIL
    ] * 3
    assert found["service latency_p99"] is Verdict.FAIL
    assert found["quality missing"] is Verdict.PASS
    assert found["metric accuracy"] is Verdict.INCONCLUSIVE


def test_the_data_contract_is_held_against_windows(world: World) -> None:
    document = {
        "data": {
            "expect": {
                "rows": {"min": 10**6},
                "freshness": {"max_age": 1},
                "keys": [["customer"]],
                "columns": {
                    "months": {"type": "integer", "between": [0, 118]},
                    "plan": {"in": ["basic"], "unique": True},
                    "churned": {"in": ["yes"]},
                },
            },
            "personal": ["plan"],
        },
        "monitoring": {"quality": {"on_breach": "retrain", "persistence": {"count": 2, "windows": 3}}},
    }
    watched = replace(SETTINGS, contract=settings_of(document).contract)
    world.log.fill(120)
    found = {check.name: check for check in world.look(watched).judged[0].checks}["contract"]
    assert (found.kind, found.verdict, found.on_breach, found.windows) == ("quality", Verdict.FAIL, "retrain", 3)
    assert found.text == (
        "data contract: months: 1 of 120 values (0.8%) not between 0 and 118 (row 120: 119); "
        "plan: 120 of 120 values (100%) none of basic (row 1: (personal); row 2: (personal); row 3: (personal); "
        "row 4: (personal); row 5: (personal); …)"
    )
    only = {"data": {"expect": {"rows": {"min": 5}, "columns": {"churned": {"in": ["yes"]}}}}}
    world.log.fill(120)
    [report] = world.look(replace(SETTINGS, contract=settings_of(only).contract)).judged
    assert "contract" not in {check.name for check in report.checks}


def drift(**more: Any) -> dict[str, Any]:
    """A resolved trigger."""
    return {
        "type": "drift", "detector": "ks", "arguments": None, "alpha": 0.01, "min_effect": None, "columns": None,
        "predictions": True, "reference": "holdout", "window": None, "min_rows": 100,
        "persistence": {"count": 2, "windows": 3}, **more,
    }  # fmt: skip


def test_drift_is_told_as_triggers_ask_for_it(world: World) -> None:
    settings = replace(SETTINGS, drift=(drift(),))
    world.predict(120)
    world.predict(120, months=59)
    steady, moved = trigger_windows(world.look(settings).judged, settings)
    [(key, check)] = moved.drift.items()
    assert (check.verdict, check.columns) == (Verdict.FAIL, ("months",))
    assert steady.drift[key].verdict is Verdict.PASS


def test_the_first_good_window_may_be_the_reference(world: World) -> None:
    """A window that breaches a limit is none; one that turns out bad is one no more; after it the next takes over."""
    settings = replace(SETTINGS, drift=(drift(reference="production"),))

    def verdicts_of(judged: Any) -> list[str]:
        return [next(iter(report.drift.values()))["verdict"] for report in judged]

    world.tell(world.predict(120, months=500, right=False))  # out of range
    ids = world.predict(120, months=59)  # not what the hold-out holds, but how life is
    world.predict(120, months=59)
    judged = world.look(settings).judged
    assert verdicts_of(judged) == ["inconclusive", "inconclusive", "no_drift"]
    assert next(iter(judged[2].drift.values()))["reference_rows"] == 120
    found = world.store.production_reference("churn", STABLE.version)
    assert found is not None and found[0] == 2
    world.predict(120, months=10)
    assert verdicts_of(world.look(settings).judged) == ["drift"]
    answers = {row.id: row.prediction for row in ServedLog(world.folder).served("churn", STABLE.version, "")}
    world.truth.update({id_: "no" if answers[id_] == "yes" else "yes" for id_ in ids})
    world.tell(ids)
    assert world.look(settings).updated
    assert world.store.production_reference("churn", STABLE.version) is None
    world.predict(120)
    assert verdicts_of(world.look(settings).judged) == ["inconclusive"]
    found = world.store.production_reference("churn", STABLE.version)
    assert found is not None and found[0] == 5


def test_errors_that_grow_are_concept_drift(world: World) -> None:
    settings = replace(SETTINGS, drift=(drift(detector="adwin"),))
    ids = world.predict(240)
    world.look(settings)
    assert next(iter(world.reports()[0].drift.values()))["verdict"] == "inconclusive"  # nobody knows yet
    world.tell(ids)
    world.look(settings)
    assert [next(iter(report.drift.values()))["verdict"] for report in world.reports()] == ["no_drift", "no_drift"]
    world.tell(world.predict(240, right=False))
    [_, second] = world.look(settings).judged
    [(_, found)] = second.drift.items()
    assert found["verdict"] == "drift"
    assert found["findings"][0]["effect"] > 0.2
    [window] = trigger_windows([second], settings)
    assert [check.verdict for check in window.drift.values()] == [Verdict.FAIL]
    assert WindowReport.from_json(json.loads(json.dumps(second.to_json()))) == second


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"columns": ["month"]}, "not judged: the reference has no column month; it has months, plan"),
        ({"detector": "alibi_detect.KSDrift", "arguments": {"alternativ": "less"}}, "no argument alternativ"),
    ],
)
def test_a_check_that_cannot_be_made_says_so_and_hinders_nothing(world: World, more: Any, said: str) -> None:
    if "detector" in more:
        pytest.importorskip("alibi_detect")
    settings = replace(SETTINGS, drift=(drift(**more), drift()))
    world.predict(120)
    [report] = world.look(settings).judged
    wrong, right = report.drift.values()
    assert wrong["verdict"] == "error"
    assert said in str(wrong["text"])
    assert right["verdict"] == "no_drift"
    [window] = trigger_windows([report], settings)
    assert [check.verdict for check in window.drift.values()] == [Verdict.ERROR, Verdict.PASS]


def test_what_the_log_has_lost_is_not_judged_again(world: World) -> None:
    ids = world.predict(120)
    world.tell(ids[:60])
    [before] = world.look().judged
    world.tell(ids[60:])
    world.log.close()
    for path in (world.folder / "log" / "churn").glob("0*"):
        path.unlink()
    [after] = world.look().updated
    assert (after.final, after.labelled) == (True, before.labelled)


def test_two_controllers_judge_each_window_once(world: World, reference: Reference) -> None:
    world.tell(world.predict(600))
    world.log.flush()

    def another() -> list[WindowReport]:
        store = SqlMonitoring(f"sqlite:///{world.folder / 'monitoring.db'}")
        monitor = Monitor(
            ServedLog(world.folder), store, lambda model, version: reference, lambda: world.now, check_block
        )
        judged = []
        while (looked := monitor.look("churn", STABLE.version, SETTINGS)).more or looked.judged:
            judged += looked.judged
        return judged

    with ThreadPoolExecutor(3) as pool:
        came = [each.result() for each in [pool.submit(another) for _ in range(3)]]
    judged = sorted((report for some in came for report in some), key=lambda report: report.window.number)
    assert [report.window.number for report in judged] == [1, 2, 3, 4, 5]
    assert world.reports() == judged


def test_old_windows_go_but_never_the_last_of_a_release(world: World) -> None:
    world.predict(480)
    assert len(world.look(replace(SETTINGS, keep=2)).judged) == 4
    assert [report.window.number for report in world.reports()] == [3, 4]
    other = replace(world.reports()[-1], version=9, window=replace(world.reports()[-1].window, last="f" * 32))
    assert world.store.add(other)
    assert not world.store.add(other)
    world.store.trim("churn", 1)
    assert [(report.version, report.window.number) for report in world.reports()] == [(3, 4), (9, 4)]


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "monitoring.db").write_bytes(b"no database" * 500)
    store = SqlMonitoring(f"sqlite:///{tmp_path / 'monitoring.db'}")
    with pytest.raises(StateError) as error:
        store.reports("churn")
    assert "Delete" in (error.value.remedy or "")


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = SqlMonitoring(f"sqlite:///{tmp_path / 'monitoring.db'}")
    assert store.reports("churn") == store.pending("churn") == []
    assert list(tmp_path.iterdir()) == []


def evaluated(*members: Outcome) -> Triggers:
    """As they are stored: the group is due or held as its first member is."""
    first = members[0]
    judged = Judged("all", first, tuple(Judged(f"m{place}", each) for place, each in enumerate(members)))
    at = "2026-11-24T12:00:00Z"
    document = {"format_version": 1, "model": "churn", "at": at, "inputs": {}, "judged": judged_json(judged)}
    return Triggers("churn", [TriggerEvaluation("churn", status_of(first), "s", document, at, at)], [])


@pytest.fixture
def seen(world: World) -> Monitored:
    """Two windows of the live release, the newer one moved and worse, after one of another release."""
    settings = replace(SETTINGS, drift=(drift(),))
    world.tell([*world.predict(120), *world.predict(120, months=59, right=False)])
    world.look(settings)
    own = list(reversed(world.reports()))
    older = replace(own[-1], version=2, window=replace(own[-1].window, number=9))
    moved = Due("drift", "drift in 2 of the last 3 windows")
    until = datetime(2026, 11, 29, tzinfo=timezone.utc)
    held = Held("drift", "cooldown of 1d <b>", until, until - HOUR, moved)
    said = evaluated(held, NotDue("performance", "accuracy is not below 0.7"))
    return Monitored("churn", STABLE.version, settings, [*own, older], breaches(own), {}, said)


def test_a_page_with_plots_needs_nothing_else(seen: Monitored) -> None:
    page = monitored_html(replace(seen, model="churn<b>"))
    tree = ElementTree.fromstring(page.removeprefix("<!doctype html>").replace('<meta charset="utf-8">', ""))
    text = "".join(tree.itertext())
    assert "churn<b>@" in text
    assert "://" not in page and "<script" not in page and "<link" not in page
    accuracy = next(svg for svg in tree.iter("svg") if svg.find("circle") is not None)
    heights = [float(circle.get("cy", "")) for circle in accuracy.iter("circle")]
    assert len(heights) == 3 and heights[1] < heights[2]  # it fell
    assert [line.get("class") for line in accuracy.iter("line")] == ["release", "floor"]
    months = next(row for row in tree.iter("tr") if "months" in "".join(row.itertext()))
    assert "".join(list(months)[-1].itertext()) == "drift"
    bars = [float(bar.get("height", "")) for bar in list(months)[-2].iter("rect") if bar.get("class") == "bar"]
    assert len(bars) == 3 and bars[0] == bars[1] < bars[2] / 3
    assert any("breached" in "".join(each.itertext()) for each in tree.iter("p"))
    assert "held until Sun 2026-11-29 00:00 UTC" in text and "cooldown of 1d <b>; due: drift in 2" in text


def test_the_terminal_s_report(seen: Monitored) -> None:
    sections = {section.title: section for section in monitored_sections(seen)}
    assert list(sections) == [
        "churn@3", "Limits", "Triggers", "Performance", "Business figures", "Drift", "Data quality", "Checks",
    ]  # fmt: skip
    lines = [line.split() for line in unstyle(plain(list(sections.values()))).splitlines()]
    assert ["breached", "accuracy"] in [line[:2] for line in lines]
    assert ["performance", "not", "due"] in [line[:3] for line in lines]
    assert ["drift", "held", "until", "Sun"] in [line[:4] for line in lines]
    (months,) = [line for line in lines if line[:2] == ["months", "ks"]]
    assert months[-1] == "drift" and float(months[2]) > 0.5 and months[-2][1] == "│"
    old, first, second = months[-2][0], months[-2][2], months[-2][3]
    assert old == first < second == "█"
    (accuracy,) = [line for line in lines if line[:1] == ["accuracy"] and "│" in line[-1]]
    assert accuracy[-1] == "█│█▁"
    (wasted,) = [line for line in lines if line[:1] == ["wasted"] and "fail" in line]
    assert wasted[2] == "120"


def test_without_a_window_there_are_still_triggers(seen: Monitored) -> None:
    text = plain(list(monitored_sections(replace(seen, reports=[], breaches=()))))
    assert text.startswith("churn@3: no window has closed yet")
    assert "held until" in text
    assert "not looked at yet" in plain(list(monitored_sections(replace(seen, triggers=Triggers("churn", [], [])))))


def test_the_document_says_what_the_triggers_said(seen: Monitored) -> None:
    document = json.loads(json.dumps(monitored_document(seen)))
    newest = document["triggers"]["newest"]
    assert (newest["status"], newest["document"]["judged"]["outcome"]["due"]["trigger"]) == ("held", "drift")
    assert [window["window"]["number"] for window in document["windows"]] == [2, 1, 9]


def test_new_requests_and_quality_are_told(world: World) -> None:
    request = asked()._replace(body=json.dumps({"instances": [{"months": 500, "plan": "new"}]}).encode())
    world.predict(120, asked=request)
    [report] = world.look().judged
    event = Event("e1", "churn", EventKind.MANUAL, "", "because", "ana")
    found = Monitored("churn", 3, SETTINGS, [report], (), {}, Triggers("churn", [], [event]))
    text = plain(list(monitored_sections(found)))
    assert "1 request waiting to be taken up" in text
    (months,) = [line for line in text.splitlines() if line.startswith("months ") and "one value only" in line]
    assert months.split()[1:4] == ["0%", "0%", "100%"]
    assert any(line.endswith("one value only; new: new") for line in text.splitlines() if line.startswith("plan "))


def test_when_a_window_of_rows_is_full() -> None:
    began = datetime(2026, 1, 1, tzinfo=timezone.utc)
    opened = Looked((), (), Window(1, "a", "b", utc(began), utc(began), 100))
    now = began + timedelta(seconds=20)
    assert closes_in(opened, Settings(rows=500), now) == 80
    assert closes_in(opened, Settings(rows=None, duration=60), now) is None
    assert closes_in(Looked((), (), None), Settings(rows=500), now) is None
