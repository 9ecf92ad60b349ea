"""Who a candidate has to stand up to. Pure.

The champion is the endpoint's stable release. A candidate that has become the champion itself is not held against
itself: what it was held against when it was let through stands, so that its own promotion changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.core.records import Artifact, Endpoint, Release

COMPARED_WITH = "compared_with"
"""Under this name a release's evidence says what it was held against: {version} or None."""


@dataclass(frozen=True)
class Opponent:
    """A release whose stored model is scored on the candidate's hold-out."""

    version: int
    model: Artifact

    @property
    def content(self) -> str:
        """What a fingerprint covers of it."""
        return f"version {self.version}, {self.model.digest}"


@dataclass(frozen=True)
class Champion:
    """The stable release. `holdout`: digest of the rows that it was judged by; `before`: what it was held against."""

    release: Opponent
    holdout: str
    before: Opponent | None

    def against(self, model: str, holdout: str) -> Opponent | None:
        """Who the candidate of this model is held against on this hold-out, both by their digests."""
        is_itself = model == self.release.model.digest and holdout == self.holdout
        return self.before if is_itself else self.release


def champion_of(endpoint: Endpoint | None, releases: Sequence[Release]) -> Champion | None:
    """The champion, None where nothing is live."""
    known = {release.version: release for release in releases}
    stable = known.get(endpoint.stable or 0) if endpoint is not None else None
    if stable is None:
        return None
    compared = stable.evidence.get(COMPARED_WITH)
    before = known.get(int(str(compared["version"]))) if isinstance(compared, dict) else None
    artifacts = stable.evidence.get("artifacts")
    return Champion(
        Opponent(stable.version, stable.artifact),
        str(artifacts.get("holdout", "")) if isinstance(artifacts, dict) else "",
        None if before is None else Opponent(before.version, before.artifact),
    )
