"""What copies of live requests say of a candidate that answers nobody: tallies in, a verdict out. Pure.

Both releases see the same requests, so that the conditional processes of a canary, which lean on requests going to one
release or the other at random, do not hold here. Each release's error rate has bounds of its own, and they are
compared by the union bound; a key counts once, by its first request. Bounds of the latencies' ratio take the releases
as independent, which is cautious: what makes a request slow makes its copy slow. Whether both predict the same is
counted copy by copy, of each key the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.core.evidence import BINS, Tally
from engine.core.rollout import Rollout
from engine.core.verdict import Verdict
from engine.strategies.judging import (
    NOTHING,
    Assessment,
    Case,
    Judgement,
    Measurements,
    Moment,
    Table,
    conclusion,
    counted_of,
    latency,
    measured,
    requests_of,
    share_text,
    weigh,
)

_EVEN = 0.5  # a weight for methods that want one: both releases see everything
_LOOKS = 10  # by so much is a level divided where the first looks make up nearly all of what many looks may err


def assess_copies(rollout: Rollout, tallies: Iterable[Tally], measurements: Measurements = NOTHING) -> Assessment:
    """Judge the candidate by the copies that it got since the rollout began, and by what was measured."""
    settings = rollout.strategy.analysis or {}
    counted = counted_of(rollout, tallies)
    copies = [tally for tally in counted if tally.version == rollout.candidate and tally.role == "shadow"]
    begun = min((tally.at for tally in copies), default="")
    beside = [t for t in counted if t.version == rollout.base and t.role == "stable" and copies and t.at >= begun]
    reported = [name for name in GUARDRAILS if name not in settings["guardrails"]]
    found = weigh(GUARDRAILS, _moments(rollout, beside, copies), settings, reported)
    found += measured(settings, measurements)
    requests, needed = requests_of(rollout, copies), int(settings["min_requests"])
    return Assessment(*conclusion(found, requests, needed, "copies"), tuple(found), requests, needed)


def _moments(rollout: Rollout, beside: Sequence[Tally], copies: Sequence[Tally]) -> list[Moment]:
    """Each tally beside an empty one of the other release: nothing is compared moment by moment."""
    stable = Tally(rollout.model, rollout.first_generation, rollout.base, "stable", 0.0, "")
    shadow = Tally(rollout.model, rollout.first_generation, rollout.candidate, "shadow", 0.0, "")
    return [Moment(_EVEN, tally, shadow) for tally in beside] + [Moment(_EVEN, stable, tally) for tally in copies]


def _errors(case: Case) -> Judgement:
    """Bounds of both rates: surely above the stable one's fails, surely small or hardly above it passes."""
    from engine.stats.error_process import error_rate_lower, error_rate_upper

    (asked, failed), (others, theirs) = _failed(case, "candidate"), _failed(case, "stable")
    said = f"errors: {failed:,} of {asked:,} copies ({share_text(failed, asked)}), stable {share_text(theirs, others)}"
    alpha = case.alpha / 2
    upper = error_rate_upper(asked, failed, alpha)
    if error_rate_lower(asked, failed, alpha) > error_rate_upper(others, theirs, alpha):
        return Verdict.FAIL, f"{said}: surely more"
    if upper <= case.settings["max_error_rate"]:
        return Verdict.PASS, f"{said}: at most {upper:.2%}"
    if upper <= case.settings["max_error_ratio"] * error_rate_lower(others, theirs, alpha):
        return Verdict.PASS, f"{said}: at most {case.settings['max_error_ratio']:.3g} times as many"
    return Verdict.INCONCLUSIVE, f"{said}: up to {upper:.2%}, at most {case.settings['max_error_rate']:.2%} is wanted"


def _failed(case: Case, role: str) -> tuple[int, int]:
    """A release's keys, and those whose first request it failed: of more, one release may have been sent more."""
    keys = int(case.total(role, "keys"))
    return keys, keys - int(case.total(role, "timed"))


def _difference(case: Case) -> Judgement:
    """The share of copies with another prediction than the answer that was given."""
    from engine.stats.error_process import error_rate_lower, error_rate_upper

    compared, same = int(case.total("candidate", "labelled")), int(case.total("candidate", "correct"))
    most = case.settings["max_difference"]
    if not compared:
        return Verdict.INCONCLUSIVE, "difference: nothing to compare yet"
    different = compared - same
    low = error_rate_lower(compared, different, case.alpha)
    high = error_rate_upper(compared, different, case.alpha)
    share = share_text(different, compared)
    said = f"difference: {different:,} of {compared:,} copies predict otherwise ({share}; {low:.2%}–{high:.2%})"
    if low > most:
        return Verdict.FAIL, f"{said}: surely more than {most:.3g}"
    if high <= most:
        return Verdict.PASS, said
    return Verdict.INCONCLUSIVE, f"{said}: at most {most:.2%} is wanted"


def _prediction_shift(case: Case) -> Judgement:
    """How far the histograms of the predictions lie apart; a large distance that chance hardly makes fails."""
    from engine.stats.shift import LARGE, chi_squared_quantile, population_stability_index

    stable, shadow = (_histogram(case, role) for role in ("stable", "candidate"))
    if not (sum(stable) and sum(shadow)):
        return Verdict.INCONCLUSIVE, "predictions: too few to compare"
    psi = population_stability_index(stable, shadow)
    noise = chi_squared_quantile(1 - case.alpha / _LOOKS, BINS - 1) * (1 / sum(stable) + 1 / sum(shadow))
    said = f"predictions: PSI {psi:.3f} over {sum(shadow):,} copies"
    if noise >= LARGE:
        return Verdict.INCONCLUSIVE, f"{said}: too few to tell"
    return (Verdict.FAIL, f"{said}: a large shift") if psi >= LARGE else (Verdict.PASS, said)


def _histogram(case: Case, role: str) -> list[int]:
    columns = zip(*(getattr(moment, role).scores for moment in case.moments), strict=True)
    return [sum(column) for column in columns]


GUARDRAILS: Table = {
    "errors": _errors,
    "latency": latency,
    "difference": _difference,
    "prediction_shift": _prediction_shift,
}
