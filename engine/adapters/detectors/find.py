"""Which detector a drift trigger asks for: the engine's own tests, or one of alibi-detect by its name.

`check_block` is the port `engine.ports.DriftDetector`: what a resolved `{type: drift, …}` says, carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.spec.detectors import ALIBI
from engine.stats.drift import Column, DriftReport, Profile, Settings, check


def check_block(profile: Profile, batch: Iterable[Column], block: Mapping[str, Any]) -> DriftReport:
    """Check a batch as the block says. Raises NotSupportedError where a library is missing, UsageError for arguments
    that the detector does not take, and ValueError for columns that the profile does not have."""
    settings = Settings.of(block)
    if not settings.detector.startswith(ALIBI):
        return check(profile, batch, settings)
    from engine.adapters.detectors.alibi import check_with_alibi

    return check_with_alibi(profile, batch, settings, block.get("arguments") or {})
