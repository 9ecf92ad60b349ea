"""What live traffic says of a candidate that answers a share of it: tallies in, a verdict with its reasons out. Pure.

Every guardrail compares the candidate with the stable release while both serve, by methods that may be looked at all
the time; together they raise a false alarm with probability `alpha` at most. A guardrail passes only when a bound says
that the candidate is at most so much worse; no alarm alone is no evidence. A split of requests that is not the one
that was meant says that something is broken, and lets nothing pass.
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
    Judgement,
    Measurements,
    Table,
    conclusion,
    counted_of,
    difference,
    errors_of,
    labelled,
    latency,
    measured,
    moments_of,
    requests_of,
    share_text,
    split,
    weigh,
)

ROLES = ("stable", "candidate")


def assess(rollout: Rollout, tallies: Iterable[Tally], measurements: Measurements = NOTHING) -> Assessment:
    """Judge the candidate by all that was counted since the rollout began, and by what was measured."""
    settings = rollout.strategy.analysis or {}
    counted = counted_of(rollout, tallies)
    moments = moments_of(rollout, counted)
    found = [*weigh(GUARDRAILS, moments, settings, settings["report_only"]), split(moments)]
    found += measured(settings, measurements)
    mine = (tally for tally in counted if tally.version == rollout.candidate and tally.role == "candidate")
    requests, needed = requests_of(rollout, mine), int(settings["min_requests"])
    return Assessment(*conclusion(found, requests, needed), tuple(found), requests, needed)


# ── guardrails ───────────────────────────────────────────────────────────────────────────────────────────────


def _errors(case: Case) -> Judgement:
    """Relative risk by the conditional e-process; or so few errors that their rate is surely small."""
    from engine.stats.error_process import error_rate_upper

    evidence = errors_of(case)
    keys, errors = int(case.total("candidate", "keys")), int(case.total("candidate", "error_keys"))
    rate = error_rate_upper(max(keys, errors), errors, case.alpha)
    upper = evidence.upper(case.alpha)
    counted = f"errors: {errors:,} of {keys:,} ({share_text(errors, keys)}), stable {_stable_rate(case)}"
    if evidence.harmful(case.alpha):
        lower = evidence.lower(case.alpha)
        return Verdict.FAIL, f"{counted}: surely more than {max(lower, 1):.3g} times as many"
    if upper <= case.settings["max_error_ratio"]:
        return Verdict.PASS, f"{counted}: at most {upper:.3g} times as many"
    if rate <= case.settings["max_error_rate"]:
        return Verdict.PASS, f"{counted}: at most {rate:.2%}"
    return Verdict.INCONCLUSIVE, f"{counted}: up to {rate:.2%}, at most {case.settings['max_error_rate']:.2%} is wanted"


def _stable_rate(case: Case) -> str:
    return share_text(case.total("stable", "error_keys"), case.total("stable", "keys"))


def _prediction_shift(case: Case) -> Judgement:
    """Whether both releases give the same predictions as often."""
    from engine.stats.shift import LARGE, ScoreBatch, shift

    found = shift(ScoreBatch(m.weight, m.stable.scores, m.candidate.scores) for m in case.moments)
    if found.psi is None or found.noise is None:
        return Verdict.INCONCLUSIVE, "predictions: too few to compare"
    said = f"predictions: PSI {found.psi:.3f} over {found.predictions:,}"
    if found.shifted(case.alpha, LARGE):
        return Verdict.FAIL, f"{said}: a large shift"
    if found.psi < LARGE and found.noise < LARGE:
        return Verdict.PASS, said
    return Verdict.INCONCLUSIVE, f"{said}: too few to tell"


def _accuracy(case: Case) -> Judgement:
    """Difference of the shares that were right, of those predictions whose actual value is known; or of the errors."""
    if any(
        case.total(role, "loss_sum") != case.total(role, "labelled") - case.total(role, "correct") for role in ROLES
    ):
        return _squared_error(case)
    most = case.settings["max_drop"]
    found = difference(case, "correct", "correct", labelled, span=1.0)
    if found.estimate is None:
        return Verdict.INCONCLUSIVE, f"accuracy: {int(case.total('candidate', 'labelled')):,} labels"
    said = f"accuracy: {found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    if found.high < -most:
        return Verdict.FAIL, f"{said}: surely more than {most:g} lower"
    if found.low >= -most:
        return Verdict.PASS, said
    return Verdict.INCONCLUSIVE, f"{said}: at most {most:g} lower is wanted"


def _squared_error(case: Case) -> Judgement:
    """Of numbers: difference of the mean squared errors, in proportion to the stable release's."""
    most = case.settings["max_drop"]
    found = difference(case, "loss_sum", "loss_squares", labelled)
    known = case.total("stable", "labelled")
    usual = case.total("stable", "loss_sum") / known if known else 0.0
    if found.estimate is None or usual <= 0:
        return Verdict.INCONCLUSIVE, f"squared error: {int(case.total('candidate', 'labelled')):,} actual values"
    low, estimate, high = (value / usual for value in (found.low, found.estimate, found.high))
    said = f"squared error: {estimate:+.1%} ({low:+.1%} to {high:+.1%})"
    if low > most:
        return Verdict.FAIL, f"{said}: surely more than {most:.0%} higher"
    if high <= most:
        return Verdict.PASS, said
    return Verdict.INCONCLUSIVE, f"{said}: at most {most:.0%} higher is wanted"


GUARDRAILS: Table = {
    "errors": _errors,
    "latency": latency,
    "prediction_shift": _prediction_shift,
    "accuracy": _accuracy,
}
