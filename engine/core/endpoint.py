"""How an endpoint's record may change. Pure: an endpoint and a wish in, the next endpoint or an error out."""

from __future__ import annotations

from dataclasses import replace

from engine.core.records import Endpoint
from engine.errors import UsageError


def deploy(endpoint: Endpoint, version: int, *, fingerprint: str) -> Endpoint:
    """Make release `version` the stable one at once. A candidate that was there is superseded."""
    return _with_stable(replace(_next(endpoint), deployed=fingerprint, aborted=""), version)


def offer(endpoint: Endpoint, version: int, *, weight: float, mirror: float = 0.0, fingerprint: str) -> Endpoint:
    """Bring release `version` in as the candidate. A candidate that was there is superseded.

    `weight` is a fraction in [0, 1); `mirror`, a fraction in [0, 1], is the share of requests that it gets a copy of.
    """
    if endpoint.stable is None or endpoint.stable == version:
        raise ValueError(f"version {version} cannot be a candidate beside {endpoint.stable}")
    _check(weight, mirror)
    offered = replace(_next(endpoint), candidate=version, weight=weight, mirror=mirror)
    return replace(offered, deployed=fingerprint, aborted="")


def expose(endpoint: Endpoint, *, weight: float, mirror: float = 0.0) -> Endpoint:
    """Give the candidate another share of the traffic, or of the copies. Raises UsageError without a candidate."""
    _candidate(endpoint, "expose")
    _check(weight, mirror)
    return replace(_next(endpoint), weight=weight, mirror=mirror)


def promote(endpoint: Endpoint) -> Endpoint:
    """Make the candidate the stable release. Raises UsageError without one."""
    return _with_stable(_next(endpoint), _candidate(endpoint, "promote"))


def abort(endpoint: Endpoint, reason: str) -> Endpoint:
    """Send the candidate away; the stable release serves everything. Raises UsageError without a candidate."""
    _candidate(endpoint, "abort")
    return replace(_next(endpoint), candidate=None, weight=0.0, mirror=0.0, aborted=reason)


def roll_back(endpoint: Endpoint, version: int | None, reason: str) -> Endpoint:
    """Serve `version` (None: the release that was stable before) alone; a candidate is sent away.

    What was deployed stays noted, so that it is not deployed again before something changes. Raises UsageError when
    there is nothing to go back to.
    """
    target = endpoint.previous if version is None else version
    if target is None:
        raise UsageError(
            f"no other release of {endpoint.model} has been live", remedy=f"See: engine releases {endpoint.model}"
        )
    if target == endpoint.stable and endpoint.candidate is None:
        raise UsageError(
            f"version {target} of {endpoint.model} is live already", remedy=f"See: engine releases {endpoint.model}"
        )
    return replace(_with_stable(_next(endpoint), target), aborted=reason)


def _candidate(endpoint: Endpoint, verb: str) -> int:
    if endpoint.candidate is None:
        raise UsageError(f"{endpoint.model} has no candidate to {verb}", remedy=f"See: engine status {endpoint.model}")
    return endpoint.candidate


def _check(weight: float, mirror: float) -> None:
    if not 0 <= weight < 1:
        raise ValueError(f"weight {weight} is not in [0, 1)")
    if not 0 <= mirror <= 1:
        raise ValueError(f"mirror {mirror} is not in [0, 1]")


def _next(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, generation=endpoint.generation + 1)


def _with_stable(endpoint: Endpoint, version: int) -> Endpoint:
    previous = endpoint.previous if endpoint.stable == version else endpoint.stable
    return replace(endpoint, stable=version, previous=previous, candidate=None, weight=0.0, mirror=0.0)
