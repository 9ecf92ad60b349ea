"""Guardrails of the user's own: how they are written, and what a measurement comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_assess import rollout, traffic
from test_copies_judged import rollout as shadow_rollout

from engine.core.evidence import Measurement
from engine.core.verdict import Verdict
from engine.errors import SpecError
from engine.kinds import JUDGES, KINDS, STRATEGIES
from engine.spec.load import load_spec
from engine.spec.project import Project
from engine.strategies.assess import assess
from engine.strategies.judging import NOTHING, measured

REFUNDS = {"name": "refunds", "prometheus": "http://127.0.0.1:9090", "query": "sum(refunds)", "max": 0.02}
FRAUD = {"name": "fraud", "webhook": "https://example.org/fraud"}
GIVEN = {"refunds": Measurement(0.01), "fraud": Measurement(verdict=Verdict.PASS)}


def document(deployment: str) -> dict[str, Any]:
    text = f"model_spec:\n  name: churn\n  deployment: {deployment}\n"
    loaded = load_spec(text.encode(), "churn.yaml", project=Project(), kinds=KINDS, exists=lambda _: True)
    found: dict[str, Any] = loaded.document["deployment"]
    return found


def analysis(inside: str) -> str:
    return f"{{strategy: canary, analysis: {{{inside}}}}}"


PROMETHEUS = "name: refunds, prometheus: 'http://127.0.0.1:9090', query: 'sum(a)'"


def test_they_stand_apart_in_the_resolved_document() -> None:
    own = "{name: refunds, prometheus: '${env:PROM}', query: 'sum(a{r=\"${candidate}\"})', max: 0.02}"
    found = document(
        analysis(f"guardrails: [errors, {own}], report_only: [latency, {{name: fraud, webhook: 'https://e.org'}}]")
    )
    settings = found["analysis"]
    assert (settings["guardrails"], settings["report_only"]) == (["errors"], ["latency"])
    refunds, fraud = settings["custom"]
    assert (refunds["name"], refunds["max"], refunds["decides"]) == ("refunds", 0.02, True)
    assert (refunds["prometheus"], refunds["query"]) == ("${env:PROM}", 'sum(a{r="${candidate}"})')
    assert (fraud["name"], fraud["decides"]) == ("fraud", False)
    assert STRATEGIES["canary"](found).analysis == settings


def test_an_analysis_without_any_resolves_as_before() -> None:
    assert "custom" not in document("{strategy: canary}")["analysis"]
    assert document("{strategy: blue_green}")["analysis"] is None


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (
            f"guardrails: [{{{PROMETHEUS}}}]",
            "3:58: deployment.analysis.guardrails[0]: the guardrail refunds has no condition",
        ),
        (f"guardrails: [{{{PROMETHEUS}, max: .nan}}]", ".nan is not a finite number"),
        (f"guardrails: [{{{PROMETHEUS}, max: .inf}}]", ".inf is not a finite number"),
        (f"guardrails: [{{{PROMETHEUS}, max: many}}]", 'max must be a number, not "many"'),
        (f"guardrails: [{{{PROMETHEUS}, min: 2, max: 1}}]", "min is above max"),
        (
            f"guardrails: [{{{PROMETHEUS}, maxx: 1}}]",
            'unknown key "maxx" in deployment.analysis.guardrails[0]. Did you mean "max"?',
        ),
        ("guardrails: [{name: a, prometheus: 'http://p', max: 1}]", "has no query"),
        ("guardrails: [{name: a, max: 1}]", "either of prometheus or of a webhook"),
        ("guardrails: [{name: a, webhook: 'https://e.org', max: 1}]", "max has no effect on a webhook"),
        ("guardrails: [{name: a, webhook: 'ftp://e.org'}]", "not an http or https URL"),
        ("guardrails: [{name: a, webhook: 'https://ada:secret@e.org'}]", "has a password in it"),
        (
            "guardrails: [{name: a, prometheus: 'http://p', query: 'x{r=\"${release}\"}', max: 1}]",
            "${release} refers to nothing",
        ),
        (
            "guardrails: [{name: a, prometheus: 'http://p', query: '${env:QUERY}', max: 1}]",
            "${env:QUERY} refers to nothing",
        ),
        ("guardrails: [{name: errors, webhook: 'https://e.org'}]", "errors is the name of a built-in guardrail"),
        ("guardrails: [{name: Bad Name, webhook: 'https://e.org'}]", "name"),
        (
            "guardrails: [{name: a, webhook: 'https://e.org'}], report_only: [{name: a, webhook: 'https://e.org'}]",
            "a is named twice",
        ),
        ("guardrails: [{name: a, webhook: 'https://e.org', timeout: 2m}]", "at most 60"),
        ("guardrails: [refunds]", 'cannot be "refunds"'),
        ("max_drop: .nan", ".nan is not a finite number"),
        ("max_error_ratio: .nan", ".nan is not a finite number"),
        ("min_requests: .nan", ".nan is not a finite number"),
    ],
)
def test_mistakes_are_located(written: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        document(analysis(written))
    assert words.lower() in str(caught.value).lower(), str(caught.value)
    assert all(each.line == 3 for each in caught.value.diagnostics)


@pytest.mark.parametrize(
    ("limits", "given", "verdict", "words"),
    [
        ({"max": 0.02}, Measurement(0.02), Verdict.PASS, "0.02"),
        ({"max": 0.02}, Measurement(0.021), Verdict.FAIL, "at most 0.02 is wanted"),
        ({"min": 5}, Measurement(5), Verdict.PASS, "5"),
        ({"min": 5}, Measurement(4.9), Verdict.FAIL, "at least 5 is wanted"),
        ({"min": 0, "max": 1}, Measurement(0.5), Verdict.PASS, "0.5"),
        ({"max": 1}, Measurement(), Verdict.INCONCLUSIVE, "no data"),
        ({"max": 1}, Measurement(float("nan")), Verdict.INCONCLUSIVE, "no data"),
        ({"max": 1}, Measurement(float("-inf")), Verdict.INCONCLUSIVE, "no data"),
        ({"max": 1}, Measurement(float("inf")), Verdict.INCONCLUSIVE, "no data"),
        ({"max": 1}, Measurement(error="the server answered 503"), Verdict.ERROR, "503"),
        ({"max": 1}, None, Verdict.INCONCLUSIVE, "not asked yet"),
    ],
)
def test_what_a_measurement_comes_to(limits: Any, given: Measurement | None, verdict: Verdict, words: str) -> None:
    own = {"name": "refunds", "min": None, "max": None, "decides": True, **limits}
    [found] = measured({"custom": [own]}, {} if given is None else {"refunds": given})
    assert (found.verdict, words in found.text) == (verdict, True), found


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL])
def test_a_webhook_gives_its_own_verdict(verdict: Verdict) -> None:
    own = {"name": "fraud", "min": None, "max": None, "decides": True}
    [found] = measured({"custom": [own]}, {"fraud": Measurement(verdict=verdict, reason="said so")})
    assert (found.verdict, found.text) == (verdict, "fraud: said so")


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (GIVEN, Verdict.PASS),
        (NOTHING, Verdict.INCONCLUSIVE),
        ({**GIVEN, "refunds": Measurement()}, Verdict.INCONCLUSIVE),
        ({**GIVEN, "refunds": Measurement(error="down")}, Verdict.ERROR),
        ({**GIVEN, "refunds": Measurement(error="down"), "fraud": Measurement(verdict=Verdict.FAIL)}, Verdict.FAIL),
        ({**GIVEN, "refunds": Measurement(0.5)}, Verdict.FAIL),
    ],
)
def test_the_worst_guardrail_decides(given: Any, verdict: Verdict) -> None:
    found = assess(rollout(guardrails=["errors", REFUNDS, FRAUD]), traffic(40_000), given)
    assert found.verdict is verdict, found
    assert {each.name for each in found.guardrails} == {"errors", "refunds", "fraud", "split"}


def test_what_fails_does_not_wait_for_traffic_and_what_passes_does() -> None:
    begun = rollout(guardrails=[REFUNDS])
    assert assess(begun, [], {"refunds": Measurement(0.5)}).verdict is Verdict.FAIL
    assert assess(begun, [], {"refunds": Measurement(0.0)}).verdict is Verdict.INCONCLUSIVE
    assert assess(begun, traffic(4_000), {"refunds": Measurement(0.0)}).verdict is Verdict.PASS


def test_one_that_is_only_reported_decides_nothing() -> None:
    begun = rollout(guardrails=["errors"], report_only=[REFUNDS])
    found = assess(begun, traffic(40_000), {"refunds": Measurement(0.5)})
    assert found.verdict is Verdict.PASS
    [refunds] = [each for each in found.guardrails if each.name == "refunds"]
    assert (refunds.verdict, refunds.decides) == (Verdict.FAIL, False)


def test_a_shadow_has_them_too() -> None:
    begun = shadow_rollout(guardrails=[REFUNDS], report_only=[FRAUD])
    for value, verdict in ((0.5, Verdict.FAIL), (0.0, Verdict.INCONCLUSIVE)):
        found = JUDGES["shadow"](begun, [], {"refunds": Measurement(value)})
        assert found.verdict is verdict
    decides = {each.name: each.decides for each in found.guardrails}
    assert (decides["refunds"], decides["fraud"]) == (True, False)


def test_a_preview_is_judged_by_them_alone() -> None:
    deployment = "{strategy: blue_green, analysis: {guardrails: [{name: fraud, webhook: 'https://e.org'}]}}"
    block = document(deployment)
    settings = STRATEGIES["blue_green"](block).analysis
    assert settings is not None
    begun = rollout()
    begun = replace(begun, strategy=replace(begun.strategy, name="blue_green", analysis=settings))
    judge = JUDGES["blue_green"]
    for given, verdict in ((NOTHING, Verdict.INCONCLUSIVE), (GIVEN, Verdict.PASS)):
        assert judge(begun, [], given).verdict is verdict
    failed = {"fraud": Measurement(verdict=Verdict.FAIL, reason="too risky")}
    assert (judge(begun, [], failed).verdict, judge(begun, [], failed).why) == (Verdict.FAIL, "fraud: too risky")
