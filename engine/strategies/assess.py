"""What live traffic says of a candidate: tallies in, a verdict with its reasons out. Pure.

Every guardrail compares the candidate with the stable release while both serve, by methods that may be looked at all
the time; together they raise a false alarm with probability `alpha` at most. A guardrail passes only when a bound says
that the candidate is at most so much worse; no alarm alone is no evidence. A split of requests that is not the one
that was meant says that something is broken, and lets nothing pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.evidence import Tally
from engine.core.rollout import Rollout
from engine.core.verdict import Verdict, worst
from engine.stats.alpha import share_alpha

DEFAULTS: Mapping[str, Any] = {
    "guardrails": ("errors", "latency"),
    "report_only": (),
    "min_requests": 500,
    "alpha": 0.05,
    "max_error_rate": 0.01,
    "max_error_ratio": 1.25,
    "max_latency_ratio": 1.25,
    "max_drop": 0.02,
}
ROLES = ("stable", "candidate")
NEGLIGIBLE_SECONDS = 0.002  # a mean latency that is surely less than this above the stable one's is as good


@dataclass(frozen=True)
class Guardrail:
    """One comparison. `decides` is False for one that is only reported."""

    name: str
    verdict: Verdict
    text: str
    decides: bool = True


@dataclass(frozen=True)
class Assessment:
    """The verdict of a stage, in words, with every guardrail. `requests`: the candidate's, in this stage."""

    verdict: Verdict
    why: str
    guardrails: tuple[Guardrail, ...] = ()
    requests: int = 0
    needed: int = 0


@dataclass(frozen=True)
class Moment:
    """Both releases at one weight and time."""

    weight: float
    stable: Tally
    candidate: Tally


@dataclass(frozen=True)
class Case:
    """What a guardrail may look at."""

    moments: Sequence[Moment]
    settings: Mapping[str, Any]
    alpha: float

    def total(self, role: str, name: str) -> float:
        """The sum of a column over the tallies of "stable" or "candidate"."""
        return float(sum(getattr(getattr(moment, role), name) for moment in self.moments))


def assess(rollout: Rollout, tallies: Iterable[Tally]) -> Assessment:
    """Judge the candidate by all that was counted since the rollout began."""
    settings = {**DEFAULTS, **{k: v for k, v in (rollout.strategy.analysis or {}).items() if v is not None}}
    counted = [tally for tally in tallies if tally.generation >= rollout.first_generation]
    moments = moments_of(rollout, counted)
    mine = [tally for tally in counted if tally.version == rollout.candidate and tally.role == "candidate"]
    requests = sum(tally.requests for tally in mine if tally.generation >= rollout.stage_generation)
    deciding = [name for name in settings["guardrails"] if name not in settings["report_only"]]
    shares = share_alpha(settings["alpha"], dict.fromkeys(deciding, 1.0))
    found = [_guardrail(name, moments, settings, shares[name], decides=True) for name in deciding]
    found += [_guardrail(name, moments, settings, settings["alpha"], decides=False) for name in settings["report_only"]]
    found.append(split(moments))
    needed = int(settings["min_requests"])
    verdict, why = conclusion(found, requests, needed)
    return Assessment(verdict, why, tuple(found), requests, needed)


def conclusion(found: Sequence[Guardrail], requests: int, needed: int, unit: str = "requests") -> tuple[Verdict, str]:
    """The verdict of all guardrails that decide, and why."""
    deciding = [each for each in found if each.decides]
    verdict = worst(each.verdict for each in deciding)
    said = "; ".join(each.text for each in deciding if each.verdict is verdict)
    if verdict in (Verdict.FAIL, Verdict.ERROR):
        return verdict, said
    if requests < needed:
        return Verdict.INCONCLUSIVE, f"{requests:,} of {needed:,} {unit} in this stage"
    return verdict, said if verdict is Verdict.INCONCLUSIVE else "every guardrail holds"


def moments_of(rollout: Rollout, tallies: Sequence[Tally]) -> list[Moment]:
    """Pairs of what both releases did at the same generation and time, in the order of time."""
    pairs: dict[tuple[int, str, float], dict[str, Tally]] = {}
    versions = {"stable": rollout.base, "candidate": rollout.candidate}
    for tally in tallies:
        if versions.get(tally.role) == tally.version:
            pairs.setdefault((tally.generation, tally.at, tally.weight), {})[tally.role] = tally
    moments = []
    for (generation, at, weight), by_role in sorted(pairs.items()):
        none = {role: Tally(rollout.model, generation, version, role, weight, at) for role, version in versions.items()}
        moments.append(Moment(weight, **{**none, **by_role}))
    return moments


# ── guardrails ───────────────────────────────────────────────────────────────────────────────────────────────


def _guardrail(
    name: str, moments: Sequence[Moment], settings: Mapping[str, Any], alpha: float, *, decides: bool
) -> Guardrail:
    verdict, text = GUARDRAILS[name](Case(moments, settings, alpha))
    return Guardrail(name, verdict, text, decides)


def _errors(case: Case) -> tuple[Verdict, str]:
    """Relative risk by the conditional e-process; or so few errors that their rate is surely small."""
    from engine.stats.error_process import ErrorBatch, error_evidence, error_rate_upper

    evidence = error_evidence(
        ErrorBatch(moment.weight, moment.stable.error_keys, moment.candidate.error_keys) for moment in case.moments
    )
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


def share_text(part: float, whole: float) -> str:
    """`1.25%`; none of nothing."""
    return f"{part / whole:.2%}" if whole else "none"


def latency(case: Case) -> tuple[Verdict, str]:
    """Ratio of geometric means, and the difference of means: too small a difference is none."""
    most = case.settings["max_latency_ratio"]
    ratio = difference(case, "log_sum", "log_squares", answered).as_ratio()
    seconds = difference(case, "latency_sum", "latency_squares", answered)
    if ratio.estimate is None or seconds.estimate is None:
        return Verdict.INCONCLUSIVE, "latency: too few requests"
    said = f"latency: {ratio.estimate:.2f} × the stable one ({ratio.low:.2f}–{ratio.high:.2f})"
    if ratio.low > most and seconds.low > NEGLIGIBLE_SECONDS:
        return Verdict.FAIL, f"{said}: surely more than {most:g} ×"
    if ratio.high <= most or seconds.high <= NEGLIGIBLE_SECONDS:
        return Verdict.PASS, said
    return Verdict.INCONCLUSIVE, f"{said}: at most {most:g} × is wanted"


def answered(tally: Tally) -> int:
    """Requests with a latency."""
    return tally.requests - tally.errors


def _prediction_shift(case: Case) -> tuple[Verdict, str]:
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


def _accuracy(case: Case) -> tuple[Verdict, str]:
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


def _squared_error(case: Case) -> tuple[Verdict, str]:
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


def labelled(tally: Tally) -> int:
    """Predictions whose actual value is known."""
    return tally.labelled


def difference(case: Case, total: str, squares: str, count: Callable[[Tally], int], span: float = 0.0) -> Any:
    """Bounds of the candidate's mean minus the stable release's, each at level `alpha`; of columns of the tallies."""
    from engine.stats.confidence_sequence import MeanBatch, Moments, difference_bounds

    def moments(tally: Tally) -> Moments:
        return Moments(count(tally), float(getattr(tally, total)), float(getattr(tally, squares)))

    batches = [MeanBatch(m.weight, moments(m.stable), moments(m.candidate)) for m in case.moments]
    return difference_bounds(batches, 2 * case.alpha, "both", span=span)


def split(moments: Sequence[Moment]) -> Guardrail:
    """Whether requests went where they were meant to go."""
    from engine.stats.sample_ratio import ShareBatch, sample_ratio

    batches = [ShareBatch.of(m.weight, m.stable.keys, m.candidate.keys) for m in moments if 0 < m.weight < 1]
    if not batches:
        return Guardrail("split", Verdict.PASS, "split: no traffic yet")
    found = sample_ratio(batches)
    said = f"split: {found.counts[1]:,} of {sum(found.counts):,} keys, {found.expected[1]:,.0f} were meant"
    if found.mismatch():
        return Guardrail("split", Verdict.ERROR, f"{said}: something assigns them wrongly")
    return Guardrail("split", Verdict.PASS, said)


GUARDRAILS: Mapping[str, Callable[[Case], tuple[Verdict, str]]] = {
    "errors": _errors,
    "latency": latency,
    "prediction_shift": _prediction_shift,
    "accuracy": _accuracy,
}
