"""What plan and apply promise together, over generated specs and edits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from generated_specs import Spec, deployments, edits, metadata, reordered, specs
from hypothesis import given
from hypothesis import strategies as st
from simulation import Simulation, action_of, document_of, to_run

from engine.core.canonical import digest
from engine.core.graph import FromStep, Observed, Step, graph_of
from engine.core.plan import Reason, ReasonCode, Request, Reuse, Run, Wait
from engine.core.planner import make_plan
from engine.core.records import AttemptStatus
from engine.core.verdict import Verdict
from engine.ports import StepOutcome
from engine.runtime.walk import Work
from engine.steps.lifecycle import build_graph

pytestmark = pytest.mark.filterwarnings("error")

BELOW_VALIDATE = {"validate", "register", "deploy"}
EFFECTS = {"deploy"}  # carried out again even if nothing changed for it: it looks before it acts


# ── applying settles everything ──────────────────────────────────────────────────────────────────────────────


@given(specs(), st.lists(edits, max_size=4))
def test_planning_after_applying_is_empty(spec: Spec, changes: list[Callable[[Spec], Spec]]) -> None:
    life = Simulation()
    for change in [lambda s: s, *changes]:
        spec = change(spec)
        life.apply(spec)
        after = life.plan(spec)
        assert not after.changes, to_run(after)
        assert life.apply(spec) == []


@given(specs(), edits)
def test_apply_runs_only_what_the_plan_named(spec: Spec, change: Callable[[Spec], Spec]) -> None:
    life = Simulation()
    life.apply(spec)
    planned = to_run(life.plan(change(spec)))
    assert set(life.apply(change(spec))) <= set(planned)


@given(specs(), st.data())
def test_a_plan_is_a_function_of_its_inputs(spec: Spec, data: st.DataObject) -> None:
    life = Simulation()
    if data.draw(st.booleans()):
        life.apply(spec)
        life.contents["data"] = digest("other rows")
    again = data.draw(reordered(spec))
    assert life.plan(spec) == life.plan(spec) == life.plan(again)
    life.contents = dict(reversed(life.contents.items()))
    life.packages = dict(reversed(life.packages.items()))
    assert life.plan(spec) == life.plan(again)


@given(specs(), st.data())
def test_metadata_and_order_run_nothing(spec: Spec, data: st.DataObject) -> None:
    life = Simulation()
    life.apply(spec)
    described = {
        **{k: v for k, v in spec.items() if k not in ("description", "owner", "labels")},
        **data.draw(metadata),
    }
    described["retrain_trigger"] = {"type": "scheduled", "cron": "5 4 * * *"}
    plan = life.plan(data.draw(reordered(described)))
    assert not plan.changes, to_run(plan)


@given(specs(), st.integers(1, 99))
def test_a_threshold_concerns_the_verdict_and_what_hangs_on_it(spec: Spec, percent: int) -> None:
    life = Simulation()
    life.apply(spec)
    spec = {**spec, "validation": {"metric": "f1_score", "threshold": (2 * percent + 1) / 2000}}  # in no generated spec
    plan = life.plan(spec)
    assert set(to_run(plan)) == BELOW_VALIDATE
    assert action_of(plan, "validate").reason.code is ReasonCode.SPEC_CHANGED  # type: ignore[union-attr]
    before = life.endpoint
    assert set(life.apply(spec)) == {"validate", *EFFECTS}  # the same model is registered already
    assert life.endpoint == before


@given(specs(), deployments)
def test_a_deployment_concerns_deploy_alone(spec: Spec, deployment: Spec) -> None:
    life = Simulation()
    life.apply(spec)
    changed = {**spec, "deployment": deployment}
    expected = [] if document_of(spec)[0] == document_of(changed)[0] else ["deploy"]
    assert to_run(life.plan(changed)) == expected
    assert life.apply(changed) == expected


@given(specs(), st.lists(edits, min_size=1, max_size=3))
def test_going_back_finds_the_earlier_results(spec: Spec, changes: list[Callable[[Spec], Spec]]) -> None:
    life = Simulation()
    life.apply(spec)
    first = life.endpoint
    other = spec
    for change in changes:
        other = change(other)
    life.apply(other)
    back = life.plan(spec)
    assert set(to_run(back)) <= EFFECTS
    assert set(life.apply(spec)) <= EFFECTS
    assert first is not None
    assert life.endpoint is not None
    assert (life.endpoint.stable, life.endpoint.deployed) == (first.stable, first.deployed)


def test_going_back_names_what_changed() -> None:
    life = Simulation()
    one = {"name": "m", "deployment": {"strategy": "canary", "initial_traffic": "10%"}}
    other = {"name": "m", "deployment": {"strategy": "canary", "initial_traffic": "20%"}}
    life.apply(one)
    life.apply(other)
    reason = action_of(life.plan(one), "deploy").reason  # type: ignore[union-attr]
    assert reason == Reason(ReasonCode.SPEC_CHANGED, "deployment.initial_traffic", 0.2, 0.1)


@given(specs(), st.data())
def test_identical_output_leaves_what_is_below_up_to_date(spec: Spec, data: st.DataObject) -> None:
    names = [step.name for step in build_graph(document_of(spec)[0]).steps if step.name not in ("snapshot", "deploy")]
    again = data.draw(st.sampled_from(names))
    life = Simulation()
    life.apply(spec)
    ran = life.apply(spec, Request(replace=frozenset({again})))
    assert set(ran) <= {again, *EFFECTS}
    assert again in ran


@given(specs())
def test_a_step_that_hides_its_change_ends_it(spec: Spec) -> None:
    """The code of a user's step changes and what it writes does not."""
    own = {"name": "features", "run": ["python", "f.py"], "inputs": {"d": "data"}, "outputs": {"table": "t.csv"}}
    spec = {**spec, "steps": [own], "data": {**spec["data"], "table": "features.table"}}
    life = Simulation(constant={"features"})
    life.apply(spec)
    life.contents["code:features"] = {"f.py": digest("other code")}
    plan = life.plan(spec)
    assert action_of(plan, "features").reason.code is ReasonCode.CODE_CHANGED  # type: ignore[union-attr]
    assert {"split", "train", "evaluate", "validate"} <= set(to_run(plan))
    assert set(life.apply(spec)) <= {"features", *EFFECTS}
    assert not life.plan(spec).changes


# ── reasons ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(specs(), edits, st.sampled_from(["data", "code", "package", "none"]))
def test_reasons_lead_back_to_the_root(spec: Spec, change: Callable[[Spec], Spec], event: str) -> None:
    life = Simulation()
    if event != "none":
        life.apply(spec)
    if event == "data":
        life.contents["data"] = digest("other rows")
    if event == "package":
        life.packages["scikit-learn"] = "9"
    plan = life.plan(change(spec))
    actions = {action.step: action for action in plan.actions}
    for action in plan.actions:
        if isinstance(action, Reuse):
            continue
        seen = set()
        while action.reason.cause is not None:
            assert action.step not in seen
            seen.add(action.step)
            cause = actions[action.reason.cause]
            if isinstance(cause, Reuse):  # an earlier result of it is taken up again, and differs in a named output
                assert action.reason.field
                break
            action = cause
        else:
            assert action.reason.code is not ReasonCode.UPSTREAM


@pytest.mark.parametrize(
    ("happen", "step", "reason"),
    [
        (
            lambda life: life.contents.update(data=digest("new")),
            "snapshot",
            Reason(ReasonCode.DATA_CHANGED, "data", digest(["content", "data"]), digest("new")),
        ),
        (
            lambda life: life.contents.update({"code:own": {"own.py": "b", "lib.py": "c"}}),
            "own",
            Reason(ReasonCode.CODE_CHANGED, "lib.py", None, "c", others=1),
        ),
        (
            lambda life: life.packages.update(scipy="9"),
            "train",
            Reason(ReasonCode.ENVIRONMENT_CHANGED, "scipy", "1.14", "9"),
        ),
        (lambda life: life.tainted.add("split"), "split", Reason(ReasonCode.TAINTED)),
        (
            lambda life: life.gone.update(a.digest for a in life.state().latest["train"].outputs.values()),
            "train",
            Reason(ReasonCode.MISSING_OUTPUT, "train.model", others=1),
        ),
        (lambda life: setattr(life, "endpoint", None), "deploy", "missing_remote"),
    ],
)
def test_each_cause_is_named(happen: Callable[[Simulation], Any], step: str, reason: Reason | str) -> None:
    spec = {
        "name": "m",
        "steps": [{"name": "own", "run": ["python", "own.py"], "inputs": {"d": "data"}, "outputs": {"o": "o.csv"}}],
        "training": {"inputs": {"extra": "own.o"}},
    }
    life = Simulation()
    life.contents["code:own"] = {"own.py": "a"}
    life.apply(spec)
    happen(life)
    plan = life.plan(spec)
    action = action_of(plan, step)
    assert isinstance(action, Run)
    if isinstance(reason, str):
        assert action.reason.code.value == reason
    else:
        assert action.reason == reason
    life.apply(spec)
    assert not life.plan(spec).changes


def test_interrupted_and_failed_steps_say_so() -> None:
    spec = {"name": "m"}
    life = Simulation()
    life.failing = {"train"}
    life.apply(spec)
    assert set(life.outcome.skipped) == {"evaluate", "validate", "register", "deploy"}
    assert action_of(life.plan(spec), "train").reason == Reason(ReasonCode.RETRY, before="train failed")  # type: ignore[union-attr]
    life.attempts["train"] = type(life.attempts["train"])(
        "train", life.attempts["train"].fingerprint, AttemptStatus.INTENT
    )
    assert action_of(life.plan(spec), "train").reason == Reason(ReasonCode.INTERRUPTED)  # type: ignore[union-attr]
    life.failing = set()
    assert life.apply(spec) == ["train", "evaluate", "validate", "register", "deploy"]


def test_what_another_apply_finishes_while_a_plan_is_made_stands() -> None:
    life = Simulation()
    spec = {"name": "m"}
    life.apply(spec)
    graph = build_graph(document_of(spec)[0])
    for seen in range(len(life.results)):
        read = {result.step: result for result in life.results[:seen]}
        state = replace(life.state(), serial=seen, latest=read, endpoint=None)
        plan = make_plan(graph, "", state, life, life.observations(graph), Request())
        assert plan.serial == seen  # which is how it is found to be stale when it is applied
        assert set(to_run(plan)) <= EFFECTS


def test_a_failure_skips_only_what_depends_on_it() -> None:
    spec = {
        "name": "m",
        "steps": [
            {"name": name, "run": ["python", f"{name}.py"], "inputs": {"d": "data"}, "outputs": {"o": f"{name}.txt"}}
            for name in ("good", "bad")
        ],
    }
    life = Simulation(jobs=3)
    life.failing = {"bad"}
    life.apply(spec)
    assert "good" in life.outcome.results
    assert life.outcome.results.keys() >= {"split", "train", "evaluate", "validate", "register", "deploy"}
    assert set(life.outcome.failures) == {"bad"}
    assert life.outcome.skipped == {}


# ── content that only reading would tell ─────────────────────────────────────────────────────────────────────


def test_unknown_content_is_read_once_and_then_stands() -> None:
    spec = {"name": "m", "data": {"source": "https://example.org/data.csv", "target": "y"}}
    life = Simulation()
    life.contents["data"] = None
    assert action_of(life.plan(spec), "snapshot").reason == Reason(ReasonCode.NEW)  # type: ignore[union-attr]
    life.apply(spec)
    assert "deploy" in life.ran
    assert not life.plan(spec).changes
    assert not life.plan({**spec, "description": "other"}).changes


def test_unknown_content_is_read_again_when_asked_or_when_its_place_changes() -> None:
    spec = {"name": "m", "data": {"source": "https://example.org/data.csv", "target": "y"}}
    life = Simulation()
    life.contents["data"] = None
    life.apply(spec)
    forced = life.plan(spec, Request(replace=frozenset({"snapshot"})))
    assert action_of(forced, "snapshot").reason == Reason(ReasonCode.FORCED)  # type: ignore[union-attr]
    life.tainted = {"snapshot"}
    assert action_of(life.plan(spec), "snapshot").reason == Reason(ReasonCode.TAINTED)  # type: ignore[union-attr]
    life.tainted = set()
    moved = {**spec, "data": {**spec["data"], "source": "https://example.org/other.csv"}}
    reason = action_of(life.plan(moved), "snapshot").reason  # type: ignore[union-attr]
    assert (reason.code, reason.field) == (ReasonCode.SPEC_CHANGED, "data.source")
    assert reason.after == "https://example.org/other.csv"


def test_unknown_content_that_turns_out_the_same_runs_nothing_below() -> None:
    spec = {"name": "m", "data": {"source": "https://example.org/data.csv", "target": "y"}}
    life = Simulation(constant={"snapshot"})
    life.read_as = digest("the same rows")
    life.contents["data"] = None
    life.apply(spec)
    assert set(life.apply(spec, Request(replace=frozenset({"snapshot"})))) <= {"snapshot", *EFFECTS}
    assert not life.plan(spec).changes


# ── gates ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(specs(retrain=False), st.sampled_from([Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR, None]))
def test_nothing_but_a_pass_lets_a_candidate_through(spec: Spec, verdict: Verdict | None) -> None:
    life = Simulation(judge=lambda work: StepOutcome(verdict=verdict))
    ran = life.apply(spec)
    assert ran[-1] == "validate" or "validate" in ran
    assert not {"register", "deploy"} & set(ran)
    assert life.outcome.stopped_by is not None
    again = life.plan(spec)
    assert not again.changes
    assert {a.step for a in again.actions if isinstance(a, Wait)} >= {"register", "deploy"}
    assert again.stopped_by is not None
    assert life.apply(spec) == []


@given(specs(), st.integers(0, 5))
def test_retries_are_bounded_and_change_only_training(spec: Spec, passes_at: int) -> None:
    attempts: list[int] = []

    def judge(work: Work) -> StepOutcome:
        judged = len(attempts)
        attempts.append(judged)
        done = judged >= passes_at
        return StepOutcome({"retrain": not done}, verdict=Verdict.PASS if done else Verdict.FAIL)

    life = Simulation(judge=judge)
    blocks = document_of(spec)[0]["validation"]
    limit = max((b["retries"] for b in blocks if b["on_failure"] == "retrain"), default=0)
    ran = life.apply(spec)
    tries = min(passes_at, limit) + 1
    assert ran.count("train") == ran.count("evaluate") == ran.count("validate") == tries
    assert ran.count("split") == ran.count("snapshot") == ran.count("check_data") == 1
    assert ("register" in ran) == (passes_at <= limit)
    settings_of = [r.components["settings"] for r in life.results if r.step == "train"]
    assert [s.get("attempt", 0) for s in settings_of] == list(range(tries))
    assert len({digest({k: v for k, v in s.items() if k != "attempt"}) for s in settings_of}) == 1
    plan = life.plan(spec)
    assert not plan.changes
    assert plan.attempt == tries - 1


def test_a_retry_is_resumed_where_it_was() -> None:
    spec = {"name": "m", "validation": {"metric": "f1_score", "threshold": 0.9, "on_failure": "retrain", "retries": 3}}
    life = Simulation(judge=lambda work: StepOutcome({"retrain": True}, verdict=Verdict.FAIL))
    life.apply(spec)
    assert life.ran.count("train") == 4
    kept = [r for r in life.results if r.step not in ("train", "evaluate", "validate")]
    tried = [r for r in life.results if r.step in ("train", "evaluate", "validate")]
    life.results = [*kept, *tried[:6]]  # killed after the second attempt
    life.ran.clear()
    assert life.plan(spec).attempt == 2
    life.apply(spec)
    assert life.ran.count("train") == 2


# ── size ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _calls(work: Callable[[], object]) -> int:
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def _chain(length: int) -> list[Step]:
    steps = [Step("s0", "command", inputs={"data": Observed("data")}, outputs={"o": "o"})]
    for i in range(1, length):
        steps.append(Step(f"s{i}", "command", inputs={"i": FromStep(f"s{i - 1}", "o")}, outputs={"o": "o"}))
    return steps


@pytest.mark.parametrize("state", ["new", "applied", "changed"])
def test_a_chain_is_planned_in_linear_time(state: str) -> None:
    def cost(length: int) -> int:
        life = Simulation()
        graph = graph_of(_chain(length))
        if state != "new":
            for step in graph.steps:  # one result each, as an apply would have left them
                life.results += _settled(life, step)
        if state == "changed":
            life.contents["data"] = digest("other")
        model_state, world = life.state(), life.observations(graph)
        by_print = {(r.step, r.fingerprint): r for r in life.results}

        class Reader:
            def result(self, model: str, step: str, fingerprint: str) -> Any:
                return by_print.get((step, fingerprint))

            def has(self, artifact: Any) -> bool:
                return True

        from engine.core.planner import make_plan

        return _calls(lambda: make_plan(graph_of(_chain(length)), "", model_state, Reader(), world, Request()))

    assert cost(2000) < 2.2 * cost(1000)


def _settled(life: Simulation, step: Step) -> list[Any]:
    from engine.core.fingerprint import fingerprint
    from engine.core.records import Artifact, StepResult

    known = {r.step: r for r in life.results[-1:]}
    current = fingerprint(
        step, known, life.observations(graph_of([Step("s0", "command", inputs={"data": Observed("data")})]))
    )
    assert current is not None
    return [StepResult(step.name, current.digest, current.components, {"o": Artifact(digest(step.name), 1, "o")})]
