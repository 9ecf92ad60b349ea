"""Who has to agree before a release goes live, and who has. Pure: terms and records in, a consent out.

An approval is of one artifact, by its digest: another artifact is agreed to anew. Of each person the last word counts,
until it expires; one person's rejection outweighs all approvals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine.core.canonical import utc
from engine.spec.consent import approval_of


@dataclass(frozen=True)
class Terms:
    """What agreeing takes: `count` people, of those in `by` (anybody with a token if empty), within `expires` seconds.

    `independent`: whoever made the release does not count. `hold` is `promotion` or `traffic`: before what it must be
    given. `informal`: whoever may promote it agrees by doing so.
    """

    count: int = 1
    by: tuple[str, ...] = ()
    expires: float | None = None
    independent: bool = False
    hold: str = "promotion"
    informal: bool = False


@dataclass(frozen=True)
class Approval:
    """Somebody's word on a release. `artifact` is the digest that it is about; `method` how they are known."""

    model: str
    version: int
    artifact: str
    agrees: bool
    by: str
    method: str
    reason: str = ""
    at: str = ""
    sequence: int = 0


@dataclass(frozen=True)
class Consent:
    """Where it stands: who agreed, how many it takes, of whom, and who rejected it and why, empty for nobody."""

    given: tuple[str, ...]
    needed: int
    among: tuple[str, ...] = ()
    rejected: str = ""

    @property
    def enough(self) -> bool:
        """Whether it may go live."""
        return not self.rejected and len(self.given) >= self.needed

    @property
    def text(self) -> str:
        """`1 of 2 approvals (ana); ben or cleo can give it`."""
        if self.rejected:
            return f"rejected by {self.rejected}"
        text = f"{len(self.given)} of {self.needed} approval{'' if self.needed == 1 else 's'}"
        text += f" ({', '.join(self.given)})" if self.given else ""
        left = [name for name in self.among if name not in self.given]
        return text if self.enough or not left else f"{text}; it awaits {' or '.join(left)}"


def terms_of(deployment: Mapping[str, Any]) -> Terms | None:
    """The terms of a resolved `deployment`; None where nobody has to agree."""
    said = approval_of(deployment)
    if not said.pop("required"):
        return None
    return Terms(**{**said, "by": tuple(said["by"])})


def terms_json(terms: Terms | None) -> dict[str, Any] | None:
    """Terms as they are stored."""
    return None if terms is None else {**vars(terms), "by": list(terms.by)}


def stored_terms(value: Any) -> Terms | None:
    """Terms as they were stored; true, as it once was, is whoever promotes."""
    if not value:
        return None
    return Terms(informal=True) if value is True else Terms(**{**value, "by": tuple(value["by"])})


def holds_deploy(terms: Terms | None, *, stages: bool, first: bool) -> bool:
    """Whether the deploy step itself has to wait: nothing stands between it and traffic, or the spec wants it so."""
    return terms is not None and (first or not stages or terms.hold == "traffic")


def consent_of(
    terms: Terms, records: Iterable[Approval], artifact: str, makers: Sequence[str], now: datetime
) -> Consent:
    """Where a release's consent stands. `makers` are the names of those who made it."""
    last: dict[str, Approval] = {}
    for record in sorted(records, key=lambda each: each.sequence):
        if record.artifact == artifact and refusal(terms, record.by, makers) is None:
            last[record.by] = record
    fresh = [each for each in last.values() if not _expired(each, terms, now)]
    against = next((each for each in fresh if not each.agrees), None)
    rejected = "" if against is None else f"{against.by}: {against.reason}" if against.reason else against.by
    given = tuple(each.by for each in fresh if each.agrees)
    among = tuple(name for name in terms.by if not (terms.independent and is_maker(name, makers)))
    return Consent(given, terms.count, among, rejected)


def refusal(terms: Terms, by: str, makers: Sequence[str]) -> str | None:
    """Why somebody's word does not count; None if it does."""
    if terms.by and by not in terms.by:
        return f"{by} is not among those who may approve it: {', '.join(terms.by)}"
    if terms.independent and is_maker(by, makers):
        return f"{by} made it, and somebody else has to approve it"
    return None


def is_maker(name: str, makers: Sequence[str]) -> bool:
    """Whether a name is one of the makers': equal, or the same before the @."""
    own = {name.casefold(), name.casefold().partition("@")[0]}
    return any(own & {maker.casefold(), maker.casefold().partition("@")[0]} for maker in makers if maker)


def _expired(record: Approval, terms: Terms, now: datetime) -> bool:
    return terms.expires is not None and record.agrees and record.at <= utc(now - timedelta(seconds=terms.expires))
