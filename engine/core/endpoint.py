"""How an endpoint's record may change. Pure: an endpoint and a wish in, the next endpoint or an error out."""

from __future__ import annotations

from dataclasses import replace

from engine.core.records import Endpoint
from engine.errors import UsageError


def deploy(endpoint: Endpoint, version: int, *, weight: float, fingerprint: str) -> Endpoint:
    """Bring release `version` in: at once for the first release or at weight 1, else as a candidate.

    `weight` is a fraction in (0, 1]. A candidate that was there is superseded.
    """
    if not 0 < weight <= 1:
        raise ValueError(f"weight {weight} is not in (0, 1]")
    base = replace(endpoint, generation=endpoint.generation + 1, deployed=fingerprint, aborted="")
    if endpoint.stable is None or weight == 1 or endpoint.stable == version:
        return _with_stable(base, version)
    return replace(base, candidate=version, weight=weight)


def promote(endpoint: Endpoint) -> Endpoint:
    """Make the candidate the stable release. Raises UsageError without one."""
    if endpoint.candidate is None:
        raise UsageError(f"{endpoint.model} has no candidate to promote", remedy=f"See: engine status {endpoint.model}")
    return _with_stable(replace(endpoint, generation=endpoint.generation + 1), endpoint.candidate)


def abort(endpoint: Endpoint, reason: str) -> Endpoint:
    """Send the candidate away; the stable release serves everything. Raises UsageError without a candidate."""
    if endpoint.candidate is None:
        raise UsageError(f"{endpoint.model} has no candidate to abort", remedy=f"See: engine status {endpoint.model}")
    return replace(endpoint, generation=endpoint.generation + 1, candidate=None, weight=0.0, aborted=reason)


def _with_stable(endpoint: Endpoint, version: int) -> Endpoint:
    previous = endpoint.previous if endpoint.stable == version else endpoint.stable
    return replace(endpoint, stable=version, previous=previous, candidate=None, weight=0.0)
