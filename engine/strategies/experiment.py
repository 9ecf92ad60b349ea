"""Which of two releases that share the traffic is better: tallies in, a verdict out. Pure.

Requests are split at random, so the difference of a metric has bounds that hold at all looks together, but for
probability `alpha`; the test ends as soon as they leave no doubt. Pass says that the candidate has won, fail that the
stable release has, or that the candidate errs surely more often, whatever the metric. A split that is not the one that
was meant lets nobody win.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.core.evidence import Tally
from engine.core.rollout import Rollout
from engine.core.verdict import Verdict
from engine.strategies.judging import (
    NOTHING,
    Assessment,
    Case,
    Guardrail,
    Judgement,
    Measurements,
    Table,
    answered,
    counted_of,
    difference,
    errors_of,
    labelled,
    moments_of,
    share_text,
    split,
)


def assess_experiment(rollout: Rollout, tallies: Iterable[Tally], measurements: Measurements = NOTHING) -> Assessment:
    """Judge the test by all that was counted since it began; it has no guardrails of the user's own."""
    del measurements
    settings = rollout.strategy.analysis or {}
    moments = moments_of(rollout, counted_of(rollout, tallies))
    case = Case(moments, settings, settings["alpha"] / 2)
    metric = Guardrail(settings["metric"], *METRICS[settings["metric"]](case))
    harm = _harm(Case(moments, settings, settings["alpha"]))
    shared = split(moments)
    requests = int(case.total("candidate", "requests"))
    needed = int(settings["min_requests"])
    found = (metric, harm, shared) if settings["metric"] != "errors" else (metric, shared)
    return Assessment(*_conclusion(metric, harm, shared, requests, needed), found, requests, needed)


def _conclusion(metric: Guardrail, harm: Guardrail, shared: Guardrail, requests: int, needed: int) -> Judgement:
    if harm.verdict is Verdict.FAIL:
        return Verdict.FAIL, harm.text
    if shared.verdict is not Verdict.PASS:
        return shared.verdict, shared.text
    if requests < needed:
        return Verdict.INCONCLUSIVE, f"{requests:,} of {needed:,} requests in this test"
    return metric.verdict, metric.text


def _harm(case: Case) -> Guardrail:
    """Errors end a test whatever it is about: who errs gets no labels, and is quick."""
    evidence = errors_of(case)
    if evidence.harmful(case.alpha):
        return Guardrail("harm", Verdict.FAIL, f"{_errors_text(case)}: surely more often")
    return Guardrail("harm", Verdict.PASS, f"{_errors_text(case)}: no sign of harm", decides=False)


def _errors_text(case: Case) -> str:
    mine, theirs = (
        share_text(case.total(role, "error_keys"), case.total(role, "keys")) for role in ("candidate", "stable")
    )
    return f"errors: {mine}, stable {theirs}"


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────


def _errors(case: Case) -> Judgement:
    """The relative risk of an error; fewer are better."""
    evidence = errors_of(case)
    low, high = evidence.lower(case.alpha), evidence.upper(case.alpha)
    return _ended(f"{_errors_text(case)}, {low:.2f}–{high:.2f} times as many", low > 1, high < 1)


def _latency(case: Case) -> Judgement:
    """The ratio of geometric means; less is better."""
    found = difference(case, "log_sum", "log_squares", answered).as_ratio()
    if found.estimate is None:
        return Verdict.INCONCLUSIVE, "latency: too few requests"
    said = f"latency: {found.estimate:.2f} × the stable one ({found.low:.2f}–{found.high:.2f})"
    return _ended(said, found.low > 1, found.high < 1)


def _accuracy(case: Case) -> Judgement:
    """The share of predictions that came true; more is better."""
    found = difference(case, "correct", "correct", labelled, span=1.0)
    if found.estimate is None:
        return Verdict.INCONCLUSIVE, _too_few_labels("accuracy", case)
    said = f"accuracy: {found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    return _ended(said, found.high < 0, found.low > 0)


def _squared_error(case: Case) -> Judgement:
    """The mean squared error; less is better."""
    found = difference(case, "loss_sum", "loss_squares", labelled)
    if found.estimate is None:
        return Verdict.INCONCLUSIVE, _too_few_labels("squared error", case)
    said = f"squared error: {found.estimate:+.4g} ({found.low:+.4g} to {found.high:+.4g})"
    return _ended(said, found.low > 0, found.high < 0)


def _too_few_labels(name: str, case: Case) -> str:
    mine, theirs = (int(case.total(role, "labelled")) for role in ("candidate", "stable"))
    return f"{name}: {mine:,} actual values, stable {theirs:,}"


def _ended(said: str, worse: bool, better: bool) -> Judgement:
    if worse:
        return Verdict.FAIL, f"{said}: the stable release has won"
    if better:
        return Verdict.PASS, f"{said}: the candidate has won"
    return Verdict.INCONCLUSIVE, f"{said}: no answer yet"


METRICS: Table = {
    "accuracy": _accuracy,
    "squared_error": _squared_error,
    "errors": _errors,
    "latency": _latency,
}
