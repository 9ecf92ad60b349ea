"""Signed evidence: whole, and no change of any file goes unseen."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Call, MadeOnce

from engine.adapters.bundle_signing import make_key, public_key
from engine.app.evidence import verify_bundle
from engine.cli.entry import run
from engine.core.audit import verify_chain
from engine.core.records import AuditEvent
from engine.errors import IntegrityError

pytest.importorskip("model_signing")
TAMPERINGS = 10_000 if os.environ.get("ENGINE_SOAK") == "1" else 40


@pytest.fixture
def bundle(made: Path, made_once: MadeOnce, tmp_path: Path) -> Path:
    """The evidence of release 2, to be tampered with."""

    def write(folder: Path) -> None:
        shutil.copytree(made, folder / "project", symlinks=True)
        assert run(["--chdir", str(folder / "project"), "evidence", "churn@2", "-o", str(folder / "bundle")]) == 0
        shutil.copyfile(folder / "bundle/signer.pub", folder / "signer.pub")

    kept = made_once("bundle", write)
    shutil.copyfile(kept / "signer.pub", tmp_path / "signer.pub")
    return Path(shutil.copytree(kept / "bundle", tmp_path / "bundle"))


def test_a_bundle_holds_everything(bundle: Path) -> None:
    found = verify_bundle(bundle, key=bundle.parent / "signer.pub")
    assert found.release == "churn@2" and found.files == 16
    record = json.loads((bundle / "record.json").read_text())
    assert json.loads((bundle / "spec.json").read_text()) == record["spec"]["document"]
    assert json.loads((bundle / "verdict.json").read_text())["verdict"] == "pass"
    assert json.loads((bundle / "digests.json").read_text())["model"] == record["release"]["artifact"]["digest"]
    assert {step["step"] for step in json.loads((bundle / "plan.json").read_text())["actions"]} >= {"train", "validate"}
    parts = json.loads((bundle / "sbom.cdx.json").read_text())
    assert (parts["bomFormat"], parts["metadata"]["component"]["type"]) == ("CycloneDX", "machine-learning-model")
    versions = {part["name"]: part["version"] for part in parts["components"]}
    assert versions["scikit-learn"] == record["environment"]["packages"]["scikit-learn"]
    assert "churn@2" in (bundle / "card.md").read_text()
    assert bundle.rename(bundle.with_name("moved")) and verify_bundle(bundle.with_name("moved"))


def test_who_signed_it(bundle: Path, made: Path, call: Call, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(public_key(make_key(tmp_path / "other.pem")))
    refused = call(tmp_path, "verify", str(bundle), "--key", str(other))
    assert refused.code == 1 and "which is not that of" in refused.err
    shutil.copyfile(other, bundle / "signer.pub")  # as one would who signs it anew, and cannot
    assert "does not hold" in call(tmp_path, "verify", str(bundle), "--key", str(other)).err
    shutil.copyfile(tmp_path / "signer.pub", bundle / "signer.pub")
    told = call(tmp_path, "verify", str(bundle))
    assert told.code == 0 and "nobody vouches" in told.out
    assert "key of" in call(tmp_path, "verify", str(bundle), "--key", str(tmp_path / "signer.pub")).out
    (bundle / "card.md").write_text("A good model.")
    (bundle / "notes.txt").write_text("")
    (bundle / "plan.json").unlink()
    altered = call(tmp_path, "verify", str(bundle)).err
    assert "not as signed: card.md; missing: plan.json; not signed: notes.txt" in altered
    nothing = call(tmp_path, "verify", str(tmp_path / "nothing"))
    assert nothing.code == 1 and "is no signed bundle" in nothing.err


def test_no_tampering_goes_unseen(bundle: Path, tmp_path: Path) -> None:
    chance = random.Random(20)
    key = tmp_path / "signer.pub"
    for number in range(TAMPERINGS):
        seed = chance.randrange(2**32)
        undo = tamper(bundle, random.Random(seed))
        try:
            with pytest.raises(IntegrityError):
                verify_bundle(bundle, key=key)
                pytest.fail(f"tampering {number}, seed {seed}, was not seen")
        finally:
            undo()
    assert verify_bundle(bundle, key=key).files == 16


def tamper(bundle: Path, chance: random.Random) -> Callable[[], object]:
    """Change one thing of a bundle; what is returned undoes it."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    path = chance.choice([*files, bundle / "signature.json"])  # the signature itself more often
    content = path.read_bytes()
    place = chance.randrange(len(content))

    def restore() -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    kind = chance.choice(
        ("flip", "flip", "flip", "insert", "cut", "drop", "remove", "add", "rename", "link", "folder", "swap")
    )
    if kind == "flip":
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :])
    elif kind == "insert":
        path.write_bytes(content[:place] + bytes([chance.randrange(256)]) + content[place:])
    elif kind == "cut":
        path.write_bytes(content[:place])
    elif kind == "drop":
        path.write_bytes(content[:place] + content[place + 1 :])
    elif kind == "remove":
        path.unlink()
    elif kind == "link":
        outside = bundle.parent / "outside"
        outside.write_bytes(content)
        path.unlink()
        path.symlink_to(outside)
    elif kind in ("add", "folder"):
        new = path.with_name(f"new{chance.randrange(10)}")
        if kind == "folder":
            new.mkdir()
            return new.rmdir
        new.write_bytes(content[:place])
        return new.unlink
    elif kind == "rename":
        new = path.with_name(f"{path.name}.old")
        path.rename(new)
        return lambda: new.rename(path)
    else:
        other = chance.choice([file for file in files if file.read_bytes() != content])
        kept = other.read_bytes()
        path.write_bytes(kept)
        other.write_bytes(content)
        return lambda: (path.write_bytes(content), other.write_bytes(kept))
    return restore


def test_the_audit_log_is_exported(made: Path, call: Call, tmp_path: Path) -> None:
    lines = call(made, "audit", "export").out.splitlines()
    events = [AuditEvent(**json.loads(line)) for line in lines]
    assert len(events) > 2 and verify_chain(events) == ()
    assert "written" in call(made, "audit", "export", "--out", str(tmp_path / "audit.csv")).out
    table = (tmp_path / "audit.csv").read_text().splitlines()
    assert table[0].startswith("sequence,at,actor,event,subject,details") and len(table) == len(events) + 1
