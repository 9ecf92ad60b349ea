"""A retrain when live data no longer looks like the reference: `{type: drift, detector: ks, alpha: 0.01}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from engine.core.canonical import digest, short
from engine.core.verdict import Verdict
from engine.spec.detectors import ALIBI, ALIBI_NAMES, NATIVE, DetectorError, check_arguments, check_detector
from engine.spec.fields import Column, Persistence, Share, Text, TriggerBlock, mistake
from engine.triggers.decision import Decision, Due, NotDue, Unknown
from engine.triggers.facts import Facts, Window
from engine.triggers.persistence import persistence_of, while_on_trial

_ABOUT_RETRAINS = frozenset({"type", "persistence", "cooldown", "budget", "force"})


def _detector(value: object) -> str:
    try:
        return check_detector(value)
    except DetectorError as error:
        raise mistake(str(error), error.remedy) from None


Detector = Annotated[
    str,
    PlainValidator(_detector),
    WithJsonSchema({"type": "string", "enum": [*NATIVE, *(ALIBI + name for name in ALIBI_NAMES)]}),
]


class Block(TriggerBlock):
    """`retrain_trigger: {type: drift, detector, alpha, …}`."""

    type: Literal["drift"]
    """Retrain when the distribution of the features, or of the predictions, has moved."""
    detector: Detector = "auto"
    """The test: auto (by the type of each column), ks, wasserstein, jensen_shannon, psi, chi_squared; mmd and
    classifier compare whole rows; adwin watches the errors of labelled predictions; alibi_detect.KSDrift and its like
    are those of alibi-detect, an extra of its own."""
    arguments: dict[Text, Any] | None = None
    """What a detector of alibi-detect is made with, by its own names."""
    alpha: Share = 0.01
    """The rate of false alarms over all columns together (Benjamini–Hochberg)."""
    min_effect: Share | None = None
    """How large the change must be besides being significant; each test has its own default."""
    columns: list[Column] | None = None
    """Only these columns; all features if left out."""
    predictions: bool = True
    """Also watch the predictions, the strongest single signal."""
    reference: Literal["holdout", "production"] = "holdout"
    """What live data is compared with, never the training rows: the hold-out, or the first window of the release's own
    predictions that breached no limit."""
    window: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Rows in a window; windows do not overlap."""
    min_rows: Annotated[int, Field(ge=30, le=10_000_000)] = 500
    """Under this many rows a window is inconclusive."""
    persistence: Persistence = Field(default={"count": 2, "windows": 3}, validate_default=False)
    """How many windows of how many must agree, like 2 of 3."""

    @model_validator(mode="after")
    def _fits_together(self) -> Block:
        try:
            check_arguments(self.detector, self.arguments)
        except DetectorError as error:
            raise mistake(str(error), error.remedy) from None
        if self.detector == "adwin" and self.columns is not None:
            raise mistake("adwin watches errors, not columns", "Remove columns, or choose another detector.")
        if self.detector == "adwin" and self.reference != "holdout":
            raise mistake("adwin begins with the errors on the hold-out", "Remove reference.")
        return self


def settings_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """What a drift check of one window depends on: the block without what is about several windows or retrains."""
    return {name: value for name, value in block.items() if name not in _ABOUT_RETRAINS}


def settings_key(block: Mapping[str, Any]) -> str:
    """Under which key `Window.drift` holds the check that this trigger asks for."""
    return short(digest(settings_of(block)))


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due when enough of the last windows drifted; inconclusive windows count neither way."""
    if facts.champion is None:
        return Unknown("drift", "nothing is live yet")
    key = settings_key(block)

    def judge(window: Window) -> tuple[Verdict, str]:
        check = window.drift.get(key)
        return (check.verdict, check.text) if check else (Verdict.INCONCLUSIVE, "not checked")

    found = persistence_of(block["persistence"], facts, facts.past_of(block), judge)
    said, details = found.text("drift"), found.details()
    if found.persists and facts.on_trial is not None:
        return while_on_trial("drift", said, facts, details)
    if found.persists:
        return Due("drift", f"{said}: {found.alarms[0].text}", details, (), block["force"])
    if not found.conclusive and not found.silent:
        return Unknown(
            "drift",
            f"no window has closed since version {facts.champion.version} went live or this was last handled",
            details,
        )
    return NotDue("drift", said, None, details)
