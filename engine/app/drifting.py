"""A batch in a file against a release's reference, by the detectors that its spec asks for.

Raises UsageError for a model, a release or columns that are not there, and what a detector raises that cannot judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.inspecting import refuse_unknown
from engine.app.monitoring import live_version, reference_of_version, watched
from engine.app.workspace import Workspace
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.stats.drift import DriftReport


@dataclass(frozen=True)
class Checked:
    """What each detector said of the batch, by its name."""

    model: str
    version: int
    reports: Mapping[str, DriftReport]

    @property
    def verdict(self) -> str:
        """`drift` if any says so, `no_drift` if one could judge, else `inconclusive`."""
        said = {report.verdict for report in self.reports.values()}
        return next((verdict for verdict in ("drift", "no_drift") if verdict in said), "inconclusive")


def check_batch(
    workspace: Workspace, model: str, data: Path, version: int | None = None, detector: str | None = None
) -> Checked:
    """Check a file's rows. `version` None: the live release; `detector` None: those of the spec's drift triggers."""
    from engine.adapters.detectors.find import check_block
    from engine.steps.reference import columns_of
    from engine.steps.table import read_table

    if not data.exists():
        raise UsageError(f"there is no file {data}", remedy="Name one: --data FILE")
    refuse_unknown(model, workspace.reader.list_models())
    known = live_version(workspace, model) if version is None else version
    reference = reference_of_version(workspace, model, known)
    blocks = _asked(workspace, model, detector)
    frame, _ = read_table(data)
    features = reference.profile.features()
    if not any(name in frame.columns for name, _ in features):
        raise UsageError(
            f"{data} has none of the features of version {known} of {model}",
            remedy=f"It needs columns such as {', '.join(name for name, _ in features[:3])}.",
        )
    columns = columns_of(frame, features)
    try:
        return Checked(model, known, {b["detector"]: check_block(reference.profile, columns, b) for b in blocks})
    except ValueError as error:
        raise UsageError(str(error), remedy="Correct the trigger, or name a detector: --detector auto") from error


def _asked(workspace: Workspace, model: str, detector: str | None) -> Sequence[Mapping[str, Any]]:
    """Resolved drift triggers: the one that is named, as it is by default, or those of the spec; of features alone."""
    from engine.spec.detectors import DetectorError, check_detector
    from engine.triggers.drift import Block

    if detector == "adwin":
        raise UsageError("adwin watches errors over time, not a batch", remedy="Choose another detector.")
    found = [block for block in watched(workspace, model).drift if block["detector"] != "adwin"]
    if detector is not None or not found:
        try:
            named = check_detector(detector or "auto")
        except DetectorError as error:
            raise UsageError(str(error), remedy=error.remedy) from None
        found = [{**Block(type="drift").model_dump(mode="json"), "detector": named}]
    return [{**block, "predictions": False} for block in found]
