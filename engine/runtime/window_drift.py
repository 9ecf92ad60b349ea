"""Drift of one closed window, as each drift trigger asks for it; see `window_report` for the rest of its report.

A check that cannot be made (a library that is missing, arguments that a detector does not take) is an `error` that
says so, and keeps nobody from the rest of the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.core.monitoring import Settings
from engine.errors import EngineError
from engine.ports import DriftDetector, LoggedPrediction
from engine.runtime.reference import FeatureReference, Reference

if TYPE_CHECKING:
    from engine.stats.drift import Column, DriftReport, Profile
    from engine.stats.drift.adwin import Chunk

DEFAULT = "default"
"""The key of the check where no trigger asks for one."""


@dataclass(frozen=True)
class Against:
    """What drift is judged with, besides the release's hold-out.

    `production`: number and profile of the window that is the release's reference, None: there is none yet.
    `errors`: of the windows before this one, oldest first.
    """

    detect: DriftDetector
    production: tuple[int, Profile] | None = None
    errors: tuple[Chunk, ...] = ()


def drift_settings(settings: Settings) -> dict[str, Mapping[str, Any] | None]:
    """What drift is asked for, by key: by each drift trigger, or as it is by default."""
    from engine.triggers.drift import settings_key

    return {settings_key(block): block for block in settings.drift} or {DEFAULT: None}


def asks_for(settings: Settings, field: str, value: str) -> bool:
    """Whether a drift trigger has this value in this field."""
    return any(block.get(field) == value for block in settings.drift)


def column(feature: FeatureReference, rows: Sequence[LoggedPrediction]) -> Column:
    """One feature of the rows."""
    from engine.stats.drift import Column

    values = [(row.features or {}).get(feature.name) for row in rows]
    return Column(feature.name, feature.kind, values)


def columns_of(rows: Sequence[LoggedPrediction], reference: Reference) -> list[Column]:
    """All features of the rows, and what the release said of them."""
    from engine.stats.drift import Column

    kind: Any = "numeric" if reference.task == "regression" else "categorical"
    return [
        *(column(feature, rows) for feature in reference.features),
        Column("prediction", kind, [row.prediction for row in rows], "prediction"),
        Column("score", "numeric", [row.score for row in rows], "prediction"),
    ]


def errors_of(rows: Sequence[LoggedPrediction], reference: Reference) -> tuple[Chunk, ...]:
    """The errors of labelled rows, in the unit of the hold-out's."""
    import numpy as np

    from engine.stats.drift.adwin import chunks_of

    if reference.task != "regression":
        return chunks_of(np.array([row.actual != row.prediction for row in rows], dtype=np.float64))
    truth = np.array([row.actual for row in rows], dtype=np.float64)
    said = np.array([row.prediction for row in rows], dtype=np.float64)
    return chunks_of(np.clip(np.abs(truth - said) / reference.error_scale, 0, 1))


def drift_of(
    rows: Sequence[LoggedPrediction], number: int, reference: Reference, settings: Settings, against: Against
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each detector of distributions says of the window `number`, by key."""
    from engine.stats.drift import check

    columns = columns_of(rows, reference)
    for key, block in drift_settings(settings).items():
        if block is None:
            yield key, check(reference.profile, columns).to_json()
        elif block["detector"] != "adwin":
            try:
                yield key, _checked(columns, number, reference, block, against).to_json()
            except (EngineError, ValueError) as error:
                yield key, _plain("error", _told(error), len(rows), block)


def concept_drift_of(
    errors: Sequence[Chunk], final: bool, reference: Reference, settings: Settings, against: Against
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What ADWIN says of the errors up to this window's end, by key of the triggers that ask for it."""
    labels = sum(chunk[0] for chunk in errors)
    for key, block in drift_settings(settings).items():
        if block is None or block["detector"] != "adwin":
            continue
        if not reference.errors:
            text = "inconclusive: the release was registered without its predictions on the hold-out"
            yield key, _plain("inconclusive", text, labels, block)
        elif labels < settings.min_labels:
            text = f"inconclusive: {labels:,} labels, {settings.min_labels:,} are needed"
            yield key, _plain("inconclusive", text, labels, block)
        elif settings.delay is not None and not final:
            yield key, _plain("inconclusive", "inconclusive: labels are still waited for", labels, block)
        else:
            yield key, _adapted([*against.errors, *errors], reference, block).to_json()


def _checked(
    columns: Sequence[Column], number: int, reference: Reference, block: Mapping[str, Any], against: Against
) -> DriftReport:
    from engine.stats.drift import DriftReport

    if block["reference"] == "holdout":
        return against.detect(reference.profile, columns, block)
    if against.production is None or against.production[0] == number:
        text = "inconclusive: no window before this one could be the reference"
        return DriftReport("inconclusive", text, columns[0].rows, 0, block["alpha"])
    return against.detect(against.production[1], columns, block)


def _adapted(errors: Sequence[Chunk], reference: Reference, block: Mapping[str, Any]) -> DriftReport:
    from engine.stats.drift import DriftReport, Finding
    from engine.stats.drift import Settings as DriftSettings
    from engine.stats.drift.adwin import adwin

    before = sum(chunk[0] for chunk in reference.errors)
    usual = sum(chunk[1] for chunk in reference.errors) / before
    now = adwin(reference.errors, errors, block["alpha"])
    least = DriftSettings(min_effect=block["min_effect"]).large("adwin")
    effect = max(0.0, now.mean - usual)
    drifted = now.changed and effect >= least and effect > 0
    what = "error rate" if reference.task != "regression" else "error (as a share of a large one)"
    said = f"{what} {now.mean:.3f} over the last {now.n:,} rows, {usual:.3f} on the hold-out"
    text = f"drift: {said}" if drifted else f"no drift: {said}"
    verdict: Any = "drift" if drifted else "no_drift"
    found = Finding("errors", "errors", "adwin", verdict, now.mean, effect, least, None, None, now.n, before)
    return DriftReport(verdict, text, sum(chunk[0] for chunk in errors), before, block["alpha"], (found,))


def _plain(verdict: Literal["inconclusive", "error"], text: str, rows: int, block: Mapping[str, Any]) -> dict[str, Any]:
    from engine.stats.drift import DriftReport

    return DriftReport(verdict, text, rows, 0, block["alpha"]).to_json()


def _told(error: Exception) -> str:
    remedy = getattr(error, "remedy", "")
    return f"not judged: {error}" + (f". {remedy}" if remedy else "")
