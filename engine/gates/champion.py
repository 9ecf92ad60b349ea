"""The candidate is held against the champion on the same rows: `{champion: non_inferior, metric, margin: 0.005}`.

The champion is the release that is live. Its stored model is scored on the candidate's hold-out, and the difference
judged by the paired bootstrap (`engine.stats.paired`). `better` (or `superior`) passes when even the cautious end of
the interval is an improvement, `non_inferior` when even that end is no loss beyond the margin. Where the estimate is
on the right side and the cautious end is not, the verdict is `inconclusive`: it may be chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from engine.core.verdict import Verdict
from engine.gates.answers import answer_of
from engine.gates.block import GateBlock, check_average
from engine.gates.result import TOLERANCE, GateResult, finite, limit_text, number, signed
from engine.spec.fields import Limit, MetricName, mistake
from engine.spec.metrics import METRICS, Average

_STUCK = "If it can never be compared again, let one candidate through with on_failure: alert."


class Block(GateBlock):
    """`validation: {champion, metric, margin, average, first_model}`."""

    champion: Literal["better", "superior", "non_inferior"]
    """How it must compare with the champion, which is scored on the same rows: better (superior says the same), or no
    worse than by the margin."""
    metric: MetricName
    """The metric that is compared."""
    margin: Limit | None = None
    """The loss that is still acceptable, in the metric's unit; with champion: non_inferior."""
    average: Average | None = None
    """How a metric of several classes is averaged."""
    first_model: Literal["pass", "fail"] = "pass"
    """What the verdict is while nothing is live: pass, as the other gates still decide, or fail."""

    @model_validator(mode="after")
    def _margin_belongs_to_non_inferior(self) -> Block:
        if self.champion == "non_inferior" and self.margin is None:
            raise mistake("champion: non_inferior needs a margin", "Add margin, like 0.005.")
        if self.champion != "non_inferior" and self.margin is not None:
            raise mistake("margin applies to champion: non_inferior only", "Take it out.")
        if self.margin is not None and self.margin <= 0:
            raise mistake(f"margin {self.margin:g} is not above 0", "Write it like 0.005.")
        check_average(self.metric, self.average)
        return self


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module; `error` when the champion could not be scored on these rows."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    if "champion" in found and found["champion"] is None:
        return _first(block)
    who = f"the champion, version {found.get('champion')}"
    label = block.metric if block.average is None else f"{block.metric} ({block.average})"
    difference, low, high = (finite(found.get(name)) for name in ("difference", "low", "high"))
    mine, its = finite(found.get("candidate")), finite(found.get("other"))
    if difference is None or mine is None or its is None:
        reason = found.get("reason") or "it is not a finite number"
        text = f"{label} of the candidate and {who} cannot be compared: {reason}"
        return GateResult(Verdict.INCONCLUSIVE, text, remedy="Give it more hold-out rows, or name another metric.")
    text = f"{label} {number(mine)} against {number(its)} of {who}: {signed(difference)}"
    if low is None or high is None:
        text += f", without an interval: {found.get('reason') or 'none was computed'}"
        return GateResult(Verdict.INCONCLUSIVE, text, difference, remedy="Give it more hold-out rows.")
    return _judged(block, f"{text} [{signed(low)}, {signed(high)}]", difference, (low, high))


def _first(block: Block) -> GateResult:
    text = f"there is no other release to compare {block.metric} with (first_model: {block.first_model})"
    if block.first_model == "pass":
        return GateResult(Verdict.PASS, text)
    return GateResult(Verdict.FAIL, text, remedy="Write first_model: pass to let the first release through.")


def _judged(block: Block, text: str, difference: float, interval: tuple[float, float]) -> GateResult:
    """Gains are positive here, whichever way the metric goes."""
    higher = METRICS[block.metric].better == "higher"
    gain, cautious = (difference, interval[0]) if higher else (-difference, -interval[1])
    floor = 0.0 if block.margin is None else -block.margin
    bound = floor if higher else -floor
    if block.margin is None:
        wanted, good, sure = "better", gain > TOLERANCE, cautious > TOLERANCE
    else:
        wanted = f"no worse than by {limit_text(block.margin)}"
        good, sure = gain >= floor - TOLERANCE, cautious >= floor - TOLERANCE
    if sure and good:
        return GateResult(Verdict.PASS, f"{text}, {wanted}", difference, bound)
    if good:
        remedy = f"The difference may be chance: give it more hold-out rows. {_STUCK}"
        return GateResult(Verdict.INCONCLUSIVE, f"{text}, not surely {wanted}", difference, bound, remedy)
    remedy = "The release that is live does better: improve the data, the features or training."
    return GateResult(Verdict.FAIL, f"{text}, not {wanted}", difference, bound, remedy)
