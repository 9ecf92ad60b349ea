"""What all judges of live traffic share: the case that they look at, guardrails, and how these make one verdict. Pure.

A judge (`assess.py`, `copies.py`, `experiment.py`, `preview.py`) turns a rollout, its tallies and what guardrails of
the user's own gave into an `Assessment`. What it compares, it compares by methods that may be looked at all the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.core.evidence import Measurement, Tally
from engine.core.rollout import Rollout
from engine.core.verdict import Verdict, worst
from engine.stats.alpha import share_alpha

if TYPE_CHECKING:
    from engine.stats.confidence_sequence import Bounds
    from engine.stats.error_process import ErrorEvidence

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


Judgement: TypeAlias = tuple[Verdict, str]
Measurements: TypeAlias = Mapping[str, Measurement]
"""What guardrails of the user's own gave, by name; one that was not asked yet is missing."""
NOTHING: Measurements = MappingProxyType({})
Table: TypeAlias = Mapping[str, Callable[[Case], Judgement]]


def counted_of(rollout: Rollout, tallies: Iterable[Tally]) -> list[Tally]:
    """The tallies since the rollout began."""
    return [tally for tally in tallies if tally.generation >= rollout.first_generation]


def requests_of(rollout: Rollout, tallies: Iterable[Tally]) -> int:
    """Requests in the present stage."""
    return sum(tally.requests for tally in tallies if tally.generation >= rollout.stage_generation)


def levels(settings: Mapping[str, Any]) -> dict[str, float]:
    """The level of each guardrail that decides: together they make `alpha`."""
    return share_alpha(settings["alpha"], dict.fromkeys(settings["guardrails"], 1.0))


def weigh(
    table: Table, moments: Sequence[Moment], settings: Mapping[str, Any], reported: Iterable[str]
) -> list[Guardrail]:
    """What every guardrail says. Those that are only reported have a level of their own, and decide nothing."""
    deciding = levels(settings)
    shares = {**deciding, **dict.fromkeys(reported, settings["alpha"])}
    return [
        Guardrail(name, *table[name](Case(moments, settings, alpha)), decides=name in deciding)
        for name, alpha in shares.items()
    ]


def measured(settings: Mapping[str, Any], measurements: Measurements) -> list[Guardrail]:
    """What the guardrails of the user's own say."""
    return [
        Guardrail(own["name"], *_by_measurement(own, measurements.get(own["name"])), decides=own["decides"])
        for own in settings.get("custom", ())
    ]


def _by_measurement(own: Mapping[str, Any], found: Measurement | None) -> Judgement:
    """A number within its limits passes, one beyond them fails; no data and what is no number are inconclusive."""
    name = own["name"]
    if found is None:
        return Verdict.INCONCLUSIVE, f"{name}: not asked yet"
    if found.error:
        return Verdict.ERROR, f"{name}: {found.error}"
    if found.verdict is not None:
        return found.verdict, f"{name}: {found.reason or found.verdict.value}"
    if found.value is None or not math.isfinite(found.value):
        return Verdict.INCONCLUSIVE, f"{name}: no data"
    low, high = own["min"], own["max"]
    if low is not None and found.value < low:
        return Verdict.FAIL, f"{name}: {found.value:.4g}, at least {low:g} is wanted"
    if high is not None and found.value > high:
        return Verdict.FAIL, f"{name}: {found.value:.4g}, at most {high:g} is wanted"
    return Verdict.PASS, f"{name}: {found.value:.4g}"


def conclusion(found: Sequence[Guardrail], requests: int, needed: int, unit: str = "requests") -> Judgement:
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


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────────────


def errors_of(case: Case) -> ErrorEvidence:
    """The conditional e-process of errors, each key once."""
    from engine.stats.error_process import ErrorBatch, error_evidence

    return error_evidence(
        ErrorBatch(moment.weight, moment.stable.error_keys, moment.candidate.error_keys) for moment in case.moments
    )


def latency(case: Case) -> Judgement:
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
    """Keys with a latency."""
    return tally.timed


def labelled(tally: Tally) -> int:
    """Predictions whose actual value is known."""
    return tally.labelled


def difference(case: Case, total: str, squares: str, count: Callable[[Tally], int], span: float = 0.0) -> Bounds:
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


def share_text(part: float, whole: float) -> str:
    """`1.25%`; none of nothing."""
    return f"{part / whole:.2%}" if whole else "none"
