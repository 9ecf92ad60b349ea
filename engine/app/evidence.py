"""The evidence of a release as a signed folder, and checking one.

The folder holds the record (`record.json`), its parts in files of their own (spec, plan, digests, verdict), approvals,
the audit events of the model, the card, and the bill of materials. It is signed with `.engine/signing.pem` or with a
given key; `signer.pub` is its public half. Who checks a bundle gives the public key that he trusts.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.adapters import bundle_signing
from engine.app.carding import card_from, pictures
from engine.app.lineage import find_release, record_of
from engine.app.workspace import Workspace
from engine.core.audit import event_hash
from engine.core.canonical import canonical_json
from engine.core.records import AuditEvent
from engine.errors import IntegrityError, UsageError

KEY = "signing.pem"
SIGNER = "signer.pub"


@dataclass(frozen=True)
class Verified:
    """A bundle that is as it was signed. `signer` names the key; `trusted`: whose it is, empty if nobody says."""

    release: str
    files: int
    signer: str
    trusted: str


def write_bundle(workspace: Workspace, what: str, folder: Path, key: Path | None = None) -> Verified:
    """Write and sign the evidence of a release. Raises UsageError for a place that is taken, NotSupportedError."""
    if folder.exists():
        raise UsageError(f"{folder} is there already", remedy="Name a folder that is not.")
    record = record_of(workspace, find_release(workspace, what))
    workspace.prepare_home()
    private = key or bundle_signing.make_key(workspace.shared / KEY)
    public = bundle_signing.public_key(private)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        draft.mkdir(parents=True)
        for name, content in _files(workspace, record).items():
            place = draft / name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        (draft / SIGNER).write_bytes(public)
        bundle_signing.sign(draft, private)
        draft.replace(folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}", remedy="Choose another place.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return verify_bundle(folder, workspace, folder / SIGNER)


def verify_bundle(folder: Path, workspace: Workspace | None = None, key: Path | None = None) -> Verified:
    """Check a bundle. The key is the given one, else the project's, else the bundle's own, which nobody vouches for.

    Raises IntegrityError for whatever is not as it was signed, or contradicts itself; UsageError for what is no bundle.
    """
    if not folder.is_dir() or not (folder / bundle_signing.SIGNATURE).is_file():
        raise IntegrityError(f"{folder} is no signed bundle", remedy="Make one: engine evidence RELEASE -o FOLDER")
    own = workspace.shared / KEY if workspace is not None else None
    trusted = ""
    public = key
    if key is not None:
        trusted = f"{key}"
    elif own is not None and own.is_file():
        trusted = "this project"
        public = _beside(own)
    _refuse_other_signer(folder, public, trusted)
    bundle_signing.verify(folder, public or folder / SIGNER)
    record = _checked(folder)
    release = record["release"]
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    signer = bundle_signing.key_name((folder / SIGNER).read_bytes())
    return Verified(f"{release['model']}@{release['version']}", files, signer, trusted)


def _refuse_other_signer(folder: Path, public: Path | None, trusted: str) -> None:
    """Raise IntegrityError when a bundle says itself that another key signed it than the trusted one."""
    said = folder / SIGNER
    if public is None or not said.is_file() or said.read_bytes().strip() == public.read_bytes().strip():
        return
    names = [bundle_signing.key_name(place.read_bytes()) for place in (said, public)]
    raise IntegrityError(
        f"it is signed with key {names[0]}, which is not that of {trusted} ({names[1]})",
        remedy="Give the key that you trust: engine verify FOLDER --key FILE",
    )


def _beside(private: Path) -> Path:
    """The public half of the project's key, in a file."""
    place = private.with_suffix(".pub")
    text = bundle_signing.public_key(private)
    if not place.is_file() or place.read_bytes() != text:
        place.write_bytes(text)
    return place


def _checked(folder: Path) -> dict[str, Any]:
    """The record of a bundle whose parts agree with each other. Raises IntegrityError."""
    try:
        record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        for name, expected in _parts(record).items():
            if (folder / name).read_bytes() != expected:
                raise IntegrityError(f"{name} contradicts the record")
        for line in (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines():
            event = AuditEvent(**json.loads(line))
            if event_hash(event) != event.hash:
                raise IntegrityError(f"audit event {event.sequence} is not what was written")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(f"the bundle cannot be read: {type(error).__name__}") from error
    return record


def _files(workspace: Workspace, record: Mapping[str, Any]) -> dict[str, bytes]:
    """Everything but the signature and its key, by path in the bundle."""
    from engine.adapters.sbom import sbom
    from engine.steps.card import html, markdown

    card = card_from(workspace, record)
    model = record["release"]["model"]
    events = [event for event in workspace.reader.audit() if event.subject == model]
    return {
        "record.json": _json(record),
        **_parts(record),
        "audit.jsonl": "".join(canonical_json(dict(vars(event))) + "\n" for event in events).encode(),
        "card.md": markdown(card).encode(),
        "card.html": html(card).encode(),
        "sbom.cdx.json": sbom(record).encode(),
        **{f"figures/{name}": png for name, png in pictures(workspace, record).items()},
    }


def _parts(record: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that follow from the record alone."""
    digests = {
        f"{step['step']}.{role}": artifact for step in record["steps"] for role, artifact in step["outputs"].items()
    }
    plan = {
        "run_id": record["release"]["run_id"],
        "actions": [
            {
                "step": step["step"],
                "action": "run" if step["run_id"] == record["release"]["run_id"] else "reuse",
                "fingerprint": step["fingerprint"],
                "components": step["components"],
            }
            for step in record["steps"]
        ],
    }
    return {
        "spec.json": _json(record["spec"]["document"]),
        "plan.json": _json(plan),
        "digests.json": _json({**record["artifacts"], **digests}),
        "verdict.json": _json(record["verdict"]),
        "approvals.json": _json(record["approvals"]),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
