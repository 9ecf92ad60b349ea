"""Data and its contract by hand: a contract proposed from data, data held against one, two snapshots compared.

Raises UsageError for what is not there, StepError for data that cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from engine.app.inspecting import ReleaseDetail, find
from engine.app.workspace import Workspace
from engine.core.contract import ContractReport
from engine.core.records import Artifact
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.steps.profiling import Change, TableProfile

_ALL = 1_000_000
_LEAST = 6  # characters of a digest that name a snapshot


@dataclass(frozen=True)
class Reading:
    """How files are read: `format` where names do not tell, `missing` as `data.missing`."""

    format: str | None = None
    missing: Sequence[str] | None = None
    personal: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """A contract as a spec has it, and what it says of the data that it was made from."""

    profile: TableProfile
    contract: Mapping[str, Any]
    report: ContractReport


def propose_contract(path: Path, reading: Reading) -> Proposal:
    """Profile a file or folder, and propose a contract that it fulfils."""
    from engine.spec.contract import Contract
    from engine.steps.contract import Setting, check_file
    from engine.steps.profiling import profile_parts, propose
    from engine.steps.table_files import stream_parts

    _refuse_missing(path)
    with TemporaryDirectory(prefix="engine-profile-") as folder:
        profile = profile_parts(stream_parts(path, reading.format), reading.missing, Path(folder))
        if not profile.rows:
            raise UsageError(f"{path} has no rows", remedy="A contract cannot be made from nothing.")
        contract = propose(profile, reading.personal)
        resolved = Contract.model_validate(contract).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        setting = Setting(datetime.now(timezone.utc), Path(folder), frozenset(reading.personal))
        report = check_file(path, resolved, setting, reading.format, reading.missing)
    return Proposal(profile, contract, report)


def check_batch(workspace: Workspace, model: str, path: Path) -> ContractReport:
    """Hold a file or folder against the contract in a model's spec."""
    from engine.app.monitoring import watched_document
    from engine.steps.contract import Setting, check_file

    _refuse_missing(path)
    data = watched_document(workspace, model)["data"]
    if not data.get("expect"):
        raise UsageError(
            f"{model} expects nothing of its data", remedy=f"Propose a contract: engine data profile {path}"
        )
    with TemporaryDirectory(prefix="engine-contract-") as folder:
        personal = frozenset(data.get("personal") or ())
        setting = Setting(datetime.now(timezone.utc), Path(folder), personal, data.get("timestamp"))
        suite = data["expect"].get("suite")
        named = None if suite is None else workspace.root / suite
        return check_file(path, data["expect"], setting, data.get("format"), data.get("missing"), named)


@dataclass(frozen=True)
class Difference:
    """What changed between two snapshots. `shared`: rows that both have; `gone`, `new`: those of one alone."""

    before: str
    after: str
    rows: tuple[int, int]
    shared: int
    gone: int
    new: int
    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Whether they hold the same rows and columns."""
        return not (self.gone or self.new or self.changes)


def compare(workspace: Workspace, before: str, after: str, reading: Reading) -> Difference:
    """Compare two snapshots, each a file, the digest of a snapshot, a run, a release or a model."""
    from engine.steps.profiling import changes, profile_parts, row_digests
    from engine.steps.table_files import stream_parts

    paths = [_data_of(workspace, what) for what in (before, after)]
    with TemporaryDirectory(prefix="engine-diff-") as folder:
        old, new = (profile_parts(stream_parts(p, reading.format), reading.missing, Path(folder)) for p in paths)
        a, b = (row_digests(stream_parts(path, reading.format), reading.missing) for path in paths)
    shared = sum(min(count, b[row]) for row, count in a.items() if row in b)
    found = tuple(changes(old, new, reading.personal))
    return Difference(before, after, (old.rows, new.rows), shared, old.rows - shared, new.rows - shared, found)


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"there is no file {path}", remedy="Name a file or a folder of data.")


def _data_of(workspace: Workspace, what: str) -> Path:
    if Path(what).exists():
        return Path(what)
    snapshots = _snapshots(workspace)
    bare = what.removeprefix("blake3:")
    named = [digest for digest in snapshots if len(bare) >= _LEAST and digest.removeprefix("blake3:").startswith(bare)]
    if len(named) == 1:
        return workspace.artifacts.path(snapshots[named[0]])
    try:
        found = find(workspace, what)
    except UsageError as error:
        raise UsageError(
            f"there is no file, snapshot, run or release {what}",
            remedy="Name a file, the digest of a snapshot (engine show), a run (engine history) or a release, churn@2.",
        ) from error
    digest = _digest_in(found)
    if digest is None or digest not in snapshots:
        raise UsageError(f"{what} has no snapshot of data", remedy="Name another run or release, or a file.")
    return workspace.artifacts.path(snapshots[digest])


def _snapshots(workspace: Workspace) -> dict[str, Artifact]:
    """Every snapshot that was taken, by its digest."""
    found = {}
    for run in workspace.reader.runs(limit=_ALL):
        for result in workspace.reader.steps_of(run.run_id)[0]:
            if result.step == "snapshot":
                found[result.outputs["data"].digest] = result.outputs["data"]
    return found


def _digest_in(found: Any) -> str | None:
    if isinstance(found, ReleaseDetail):
        artifacts: Any = found.release.evidence.get("artifacts") or {}
        data = artifacts.get("data")
        return None if data is None else str(data)
    for result in found.results:
        if result.step == "snapshot":
            return str(result.outputs["data"].digest)
        if result.step == "check_data":
            return str(result.components["inputs"]["data"])
    return None
