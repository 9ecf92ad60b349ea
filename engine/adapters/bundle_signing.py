"""Signing a folder, and checking it, by OpenSSF model-signing with an elliptic-curve key.

The signature, a Sigstore bundle in `signature.json`, covers the name and the SHA-256 of every other file of the folder.
What model-signing lets pass is refused here: empty folders, links, a signature file that is not written as it was.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import IntegrityError, NotSupportedError, UsageError

SIGNATURE = "signature.json"
_BASE64 = frozenset({"payload", "sig", "rawBytes"})


def make_key(path: Path) -> Path:
    """A private key at `path`, made on first use and readable by its owner alone."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        try:
            os.link(partial, path)  # the first of several wins
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return path


def public_key(private: Path) -> bytes:
    """The public half of a private key, as PEM. Raises UsageError for what is no such key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{private} is no private key: {error}", remedy="Give an EC key as PEM, unencrypted."
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError(
            f"{private} is no elliptic-curve key", remedy="openssl ecparam -name prime256v1 -genkey -noout"
        )
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_name(public: bytes) -> str:
    """What a person compares: the beginning of the SHA-256 of a public key's PEM."""
    return hashlib.sha256(public.strip()).hexdigest()[:16]


def sign(folder: Path, private: Path) -> None:
    """Write the signature of a folder into it. Raises NotSupportedError without model-signing."""
    signing = _library("signing")
    place = folder / SIGNATURE
    signing.Config().use_elliptic_key_signer(private_key=private).set_hashing_config(_hashing(place)).sign(
        folder, place
    )


def verify(folder: Path, public: Path) -> None:
    """Check a folder against its signature. Raises IntegrityError for whatever is not as it was signed."""
    verifying = _library("verifying")
    place = folder / SIGNATURE
    for problem in _let_pass(folder):
        raise IntegrityError(problem)
    try:
        _refuse_rewritten(place)
        check = verifying.Config().use_elliptic_key_verifier(public_key=public).set_hashing_config(_hashing(place))
        check.verify(folder, place)
    except IntegrityError:
        raise
    except Exception as error:
        reason = _altered(folder, place) or _said(error)
        raise IntegrityError(f"the signature does not hold: {reason}") from error


def _library(part: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"model_signing.{part}")
    except ImportError:
        raise NotSupportedError(
            "signed evidence needs a package that is not installed", remedy="Install it: pip install 'engine[signing]'"
        ) from None


def _hashing(signature: Path) -> Any:
    return _library("hashing").Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)


def _let_pass(folder: Path) -> Iterator[str]:
    """What is in a folder that no signature speaks of."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield f"{relative} is no ordinary file"
        elif path.is_dir() and not any(path.iterdir()):
            yield f"{relative} is an empty folder, which was not signed"


def _refuse_rewritten(place: Path) -> None:
    """Raise IntegrityError unless the signature file is, byte for byte, what its content is written as."""
    text = place.read_bytes()
    content = json.loads(text)
    if json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() != text or not _plain(content):
        raise IntegrityError(f"{SIGNATURE} is not as it was written")


def _altered(folder: Path, place: Path) -> str:
    """Which files are not as the signature lists them, for a person; "" if that cannot be told."""
    try:
        statement = json.loads(base64.b64decode(json.loads(place.read_bytes())["dsseEnvelope"]["payload"]))
        signed = {entry["name"]: entry["digest"] for entry in statement["predicate"]["resources"]}
        found = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path != place
        }
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    problems = {
        "not as signed": [name for name in signed if name in found and found[name] != signed[name]],
        "missing": sorted(signed.keys() - found.keys()),
        "not signed": sorted(found.keys() - signed.keys()),
    }
    return "; ".join(f"{problem}: {', '.join(names)}" for problem, names in problems.items() if names)


def _plain(value: Any, key: str = "") -> bool:
    """Whether all base64 in a signature is in its one right form."""
    if isinstance(value, dict):
        return all(_plain(entry, name) for name, entry in value.items())
    if isinstance(value, list):
        return all(_plain(entry, key) for entry in value)
    return key not in _BASE64 or base64.b64encode(base64.b64decode(value, validate=True)).decode() == value


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"
