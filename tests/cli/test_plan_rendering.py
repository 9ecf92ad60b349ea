"""Every kind of action and reason in words, from plans made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click
import pytest
from cli_project import check_golden

from engine.app.detecting import Detection
from engine.app.planning import TriggerState
from engine.cli.plan_json import plan_document
from engine.cli.plan_markdown import MARKER, code, render_markdown
from engine.cli.plan_text import endpoint_text, render_plan
from engine.cli.reasons import reason_text
from engine.core.plan import Conditional, ModelPlan, Plan, Reason, ReasonCode, Reuse, Run, Wait
from engine.core.records import Endpoint, StepResult
from engine.core.verdict import Verdict
from engine.errors import Diagnostic

DOCUMENT = {
    "data": {"source": "data/churn.csv"},
    "deployment": {
        "strategy": "canary",
        "initial_traffic": 0.1,
        "steps": [{"traffic": share, "duration": None, "pause": False} for share in (0.1, 0.25, 0.5, 1.0)],
        "approval": "automatic",
    },
}


@dataclass
class Model:
    """A planned model, as far as rendering looks at it."""

    plan: ModelPlan
    triggers: tuple[TriggerState, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    document: dict[str, Any] = field(default_factory=lambda: DOCUMENT)
    detection: Detection | None = None
    restraints: tuple[str, ...] = ()


@dataclass
class Planned:
    """A plan of several models."""

    plan: Plan
    models: dict[str, Model]


def planned(*models: Model) -> Any:
    plan = Plan("lineage", 1, "2026-11-23T00:00:00.000000Z", tuple(model.plan for model in models))
    return Planned(plan, {model.plan.name: model for model in models})


def model_plan(*actions: Any, name: str = "customer_churn", **more: Any) -> ModelPlan:
    return ModelPlan(name, "blake3:00", 1, actions, **more)


def reuse(step: str, summary: str = "", verdict: Verdict | None = None) -> Reuse:
    return Reuse(step, StepResult(step, "blake3:11", {}, {}, summary=summary, verdict=verdict))


UPSTREAM = Reason(ReasonCode.UPSTREAM, cause="train")


def test_the_plan_of_the_manual() -> None:
    changed = Reason(ReasonCode.SPEC_CHANGED, "training.params.n_estimators", 100, 300)
    model = Model(
        model_plan(
            reuse("snapshot", "7,043 rows"),
            Run("train", changed, (30.0, 28.0, 35.0)),
            Run("evaluate", UPSTREAM, (8.0, 7.0, 9.0)),
            Run("validate", UPSTREAM, (0.1,)),
            Conditional("register", UPSTREAM, "validate", (3.0, 2.9, 5.9)),
            Conditional("deploy", UPSTREAM, "validate", (1.0,)),
            endpoint=Endpoint("customer_churn", 1, stable=1),
        ),
        triggers=(TriggerState("scheduled", "0 0 * * 0", "2026-11-29T00:00:00.000000Z"),),
        warnings=(Diagnostic("specs/churn.yaml", 4, 3, "two fields mean the same", "Keep one."),),
    )
    text = click.unstyle(render_plan(planned(model)))
    check_golden("rendered_manual.txt", text + "\n")
    assert "About 42 s (last runs: 39–51 s)." in text


def test_a_gate_that_holds() -> None:
    model = Model(
        model_plan(
            reuse("evaluate", "f1_score 0.61 [0.58, 0.64]"),
            reuse("validate", "f1_score 0.61 < 0.85", Verdict.FAIL),
            Wait("register", Reason(ReasonCode.UPSTREAM, cause="validate"), "validate"),
            endpoint=Endpoint("customer_churn", 4, stable=2, candidate=3, weight=0.25),
        )
    )
    check_golden("rendered_held.txt", click.unstyle(render_plan(planned(model))) + "\n")


def test_a_retry_is_said() -> None:
    train = Run("train", Reason(ReasonCode.SPEC_CHANGED, "attempt", None, 1))
    model = Model(model_plan(train, attempt=1, retries=2, retried="train"))
    assert "retry 1 of 2 after a failed gate, with another seed" in render_plan(planned(model))


def test_many_quiet_models_are_one_line() -> None:
    quiet = [Model(model_plan(reuse("snapshot"), name=f"model_{number}")) for number in range(998)]
    loud = Model(model_plan(Run("train", Reason(ReasonCode.NEW)), name="new_one"))
    text = click.unstyle(render_plan(planned(*quiet, loud)))
    assert "998 models up to date" in text
    assert "model_7" not in text
    assert "new_one" in text
    assert "998 models up to date." in render_markdown(planned(*quiet, loud))


def test_a_delivery_is_said_in_json_too() -> None:
    deploy = Conditional("deploy", UPSTREAM, "validate")
    first = Model(model_plan(deploy, name="first"))
    later = Model(model_plan(deploy, name="later", endpoint=Endpoint("later", 1, stable=1)))
    actions = [model["actions"][0] for model in plan_document(planned(first, later))["models"]]
    assert [each["delivery"] for each in actions] == ["the first release, 100%", "canary 10% → 25% → 50% → 100%"]
    assert "delivery" not in plan_document(planned(Model(model_plan(reuse("deploy")))))["models"][0]["actions"][0]


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (None, "nothing is live"),
        (Endpoint("m", 3, 1, 2, 0.25), "version 1 is live, candidate version 2 gets 25%"),
        (Endpoint("m", 3, 1, 2), "version 1 is live, candidate version 2 gets no traffic"),
        (
            Endpoint("m", 3, 1, 2, mirror=0.5),
            "version 1 is live, candidate version 2 gets no traffic and copies of 50%",
        ),
    ],
)
def test_an_endpoint_in_words(endpoint: Endpoint | None, text: str) -> None:
    assert endpoint_text(endpoint) == text


REASONS = [
    (Reason(ReasonCode.NEW), "new"),
    (Reason(ReasonCode.SPEC_CHANGED, "training.seed", 1, 2), "training.seed: 1 → 2"),
    (Reason(ReasonCode.SPEC_CHANGED, "data.split.seed", None, "x" * 80), f"data.split.seed: none → {'x' * 39}…"),
    (Reason(ReasonCode.SPEC_CHANGED, "validation[0].min", 1, 3, others=1), "validation[0].min: 1 → 3, 1 more"),
    (Reason(ReasonCode.DATA_CHANGED, "data", "blake3:1", "blake3:2"), "data changed: data/churn.csv"),
    (Reason(ReasonCode.DATA_CHANGED, "lookup.csv", "blake3:1", "blake3:2"), "data changed: lookup.csv"),
    (
        Reason(ReasonCode.CODE_CHANGED, "features.py", "blake3:1", "blake3:2", others=1),
        "code changed: features.py, 1 more",
    ),
    (Reason(ReasonCode.ENVIRONMENT_CHANGED, "pandas", "2.2.1", "2.3.0"), "pandas 2.2.1 → 2.3.0"),
    (Reason(ReasonCode.ENVIRONMENT_CHANGED, "pandas", None, "2.3.0"), "pandas 2.3.0 is used now"),
    (Reason(ReasonCode.ENVIRONMENT_CHANGED, "pandas", "2.3.0", None), "pandas 2.3.0 is not installed any more"),
    (
        Reason(ReasonCode.ENVIRONMENT_CHANGED, "engine split", 1, 2),
        "a new version of engine does split in another way",
    ),
    (Reason(ReasonCode.TRIGGER_FIRED, "scheduled"), "trigger fired: scheduled"),
    (Reason(ReasonCode.UPSTREAM, cause="train"), "because train runs"),
    (Reason(ReasonCode.UPSTREAM, "model", "blake3:1", "blake3:2", "train"), "train gave another model"),
    (Reason(ReasonCode.MISSING_OUTPUT, "train.model"), "the output model of train is missing from the store"),
    (Reason(ReasonCode.MISSING_REMOTE, "registry version", 3), "version 3 is gone from the registry"),
    (Reason(ReasonCode.MISSING_REMOTE, "endpoint", None, 2), "nothing is live, not this deployment"),
    (Reason(ReasonCode.MISSING_REMOTE, "endpoint", 1, 2), "version 1 is live, not this deployment"),
    (
        Reason(ReasonCode.MISSING_REMOTE, "registry alias champion", 1, 2),
        "registry alias champion was moved by another hand: 1, ours is 2",
    ),
    (Reason(ReasonCode.TAINTED), "marked to run again (state taint)"),
    (Reason(ReasonCode.FORCED), "asked to run again"),
    (Reason(ReasonCode.RETRY, before="out of memory\nmore"), "failed before: out of memory"),
    (Reason(ReasonCode.RETRY), "failed before"),
    (Reason(ReasonCode.INTERRUPTED), "was interrupted"),
    (Reason(ReasonCode.APPROVAL, "version 2", after="0 of 1 approval"), "0 of 1 approval"),
    (Reason(ReasonCode.POLICY, "quiet", before="Wait", after="policy quiet: no"), "policy quiet: no"),
]


@pytest.mark.parametrize(("reason", "text"), REASONS)
def test_reasons_in_words(reason: Reason, text: str) -> None:
    assert reason_text(reason, lambda: DOCUMENT) == text


def test_every_code_has_words() -> None:
    assert {reason.code for reason, _ in REASONS} == set(ReasonCode)


def test_markdown_reads_nothing_as_markup() -> None:
    nasty = "`|</details><script>@everyone [x](http://y)\n# head"
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert code("") == ""
    train = Run("train", Reason(ReasonCode.RETRY, before=nasty))
    text = render_markdown(planned(Model(model_plan(train))))
    assert text.startswith(MARKER)
    [row] = [line for line in text.splitlines() if "failed before" in line]
    assert row.count(" | ") == 3, "no cell more than the header has"
    assert "``failed before: `\\|</details><script>@everyone [x](http://y)``" in row
