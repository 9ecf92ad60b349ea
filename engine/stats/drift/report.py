"""What a drift check was asked and what it found, as plain frozen values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from engine.spec.detectors import NATIVE
from engine.stats import inputs

Verdict = Literal["drift", "no_drift", "inconclusive"]

MIN_ROWS = 500  # of a batch
MIN_PRESENT = 100  # values that are there, of a feature and of its reference
# How large a change must be to matter, by test; docs/drift.md says where each comes from.
MIN_EFFECTS: Mapping[str, float] = {
    "ks": 0.05,  # the distance itself: a shift of an eighth of a standard deviation
    "wasserstein": 0.1,  # standard deviations of the reference, as in Evidently
    "jensen_shannon": 0.1,  # distance with logarithms to base 2, as in Evidently and NannyML
    "psi": 0.2,  # "a significant shift" by convention (Siddiqi 2006)
    "chi_squared": 0.05,  # Cramér's V at equal sizes, half of Cohen's w; w = 0.1 is small (Cohen 1988)
    "missing": 0.02,  # difference of shares
    "unseen": 0.01,  # share of values beyond what the reference leads to expect
    "constant": 0.0,  # no variety left is large by itself
    "mmd": 0.0,  # squared discrepancy; the sample's size bounds what can be significant
    "adwin": 0.02,  # difference of error rates, or of errors as shares of a large one
    "classifier": 0.1,  # 2·AUC − 1, what Cohen's small shift of one feature gives (AUC 0.556)
}
NUMERIC_TESTS = ("ks", "wasserstein", "jensen_shannon", "psi")
CATEGORICAL_TESTS = ("chi_squared", "jensen_shannon", "psi")
JOINT_TESTS = ("mmd", "classifier")
DETECTORS = tuple(name for name in NATIVE if name != "adwin")  # what compares distributions


@dataclass(frozen=True)
class Settings:
    """How to judge. `alpha`: the share of false alarms among alarms over all tests of one check, 0–1.

    `min_effect` None: each test's own, `MIN_EFFECTS`. `columns` None: all features. A `detector` that does not fit a
    column (ks and a category) leaves it to the one that `auto` would take. Raises ValueError for what cannot be.
    """

    detector: str = "auto"
    alpha: float = 0.01
    min_effect: float | None = None
    columns: tuple[str, ...] | None = None
    predictions: bool = True
    min_rows: int = MIN_ROWS
    permutations: int = 999
    seed: int = 0

    def __post_init__(self) -> None:
        inputs.level(self.alpha)
        if self.min_effect is not None:
            inputs.share("min_effect", self.min_effect)
        inputs.count("min_rows", self.min_rows)
        inputs.positive("permutations", inputs.count("permutations", self.permutations))

    @staticmethod
    def of(block: Mapping[str, Any]) -> Settings:
        """From a resolved `retrain_trigger: {type: drift, …}`; fields of other names are not looked at."""
        columns = block.get("columns")
        named = {name: block[name] for name in ("detector", "alpha", "min_effect", "predictions", "min_rows")}
        return Settings(**named, columns=None if columns is None else tuple(columns))

    def large(self, test: str) -> float:
        """The least effect of a test that matters. A test beside the chosen ones (missing, unseen) keeps its own."""
        own = MIN_EFFECTS.get(test, 0.0)
        return own if self.min_effect is None or test in ("missing", "unseen", "constant") else self.min_effect


@dataclass(frozen=True)
class Finding:
    """One test of one column, or of all features together.

    `statistic` is the test's own, `effect` how large the change is (see `MIN_EFFECTS` for units), `p` the p-value and
    `q` the same after Benjamini and Hochberg; None where nothing could be measured: `reason` says why. `n` counts the
    batch's values that were compared, `reference_n` the reference's.
    """

    name: str
    role: str  # feature, prediction, features (all together)
    test: str
    verdict: Verdict = "inconclusive"
    statistic: float | None = None
    effect: float | None = None
    min_effect: float = 0.0
    p: float | None = None
    q: float | None = None
    n: int = 0
    reference_n: int = 0
    reason: str = ""

    @property
    def is_large(self) -> bool:
        """Whether the effect reaches the least one that matters."""
        return self.effect is not None and self.effect >= self.min_effect


@dataclass(frozen=True)
class DriftReport:
    """All findings, those of drift first. rows: of the batch; profile: the digest of what it was compared with.

    `error`: a detector could not be asked.
    """

    verdict: Verdict | Literal["error"]
    text: str  # one line for people
    rows: int
    reference_rows: int
    alpha: float
    findings: tuple[Finding, ...] = field(default=())
    profile: str = ""

    @property
    def drifted(self) -> tuple[Finding, ...]:
        """The findings that say drift."""
        return tuple(finding for finding in self.findings if finding.verdict == "drift")

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite are None."""
        document = asdict(self) | {"findings": [_plain(asdict(finding)) for finding in self.findings]}
        return {"format_version": 1, **document}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> DriftReport:
        """From what `to_json` gave. Raises ValueError for another version of the format."""
        if document.get("format_version") != 1:
            raise ValueError(f"a drift report of format {document.get('format_version')!r} cannot be read, only of 1")
        own = {name: value for name, value in document.items() if name != "format_version"}
        return DriftReport(**{**own, "findings": tuple(Finding(**each) for each in own["findings"])})


def _plain(finding: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in finding.items()
    }
