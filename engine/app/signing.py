"""The project's key, and what is signed with it: saved plans, and the models that its own training wrote.

The signature of a model is an HMAC over its digest, kept beside the objects of the artifact store. Formats that run
code when they are read (pickle, joblib, MLflow) are served only with one. Whoever can write the state or the store,
but has not the key, can therefore bring in no code. Machines that share a state share the key: copy `.engine/key`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from engine.adapters.durable import make_durable_folder, sync
from engine.app.workspace import Workspace
from engine.core.records import Artifact

KEY = "key"
SIGNED = "signed"
_KEY_BYTES = 32


def signature(workspace: Workspace, purpose: str, text: str) -> str:
    """An HMAC under the project's key; what was signed for one purpose holds for no other."""
    return hmac.new(_key(workspace), f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class ModelSignatures:
    """The signatures of the models that this project's training wrote."""

    workspace: Workspace

    def sign(self, model: Artifact) -> None:
        """Sign a model that a worker of ours has just written, durably."""
        place = self._place(model.digest)
        if self.holds(model.digest):
            return
        make_durable_folder(place.parent)
        temporary = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
        temporary.write_text(self._signature(model.digest), encoding="ascii")
        sync(temporary)
        temporary.replace(place)
        sync(place.parent)

    def holds(self, digest: str) -> bool:
        """Whether the model of this digest was signed with this project's key."""
        try:
            found = self._place(digest).read_text(encoding="ascii")
        except (OSError, ValueError):
            return False
        return hmac.compare_digest(found, self._signature(digest))

    def collect(self) -> None:
        """Forget the signatures of what is not in the store any more."""
        folder = self.workspace.artifacts.root / SIGNED
        for place in list(folder.iterdir()) if folder.is_dir() else []:
            if not self.workspace.artifacts.has_object(f"blake3:{place.name}"):
                place.unlink(missing_ok=True)

    def _signature(self, digest: str) -> str:
        return signature(self.workspace, "model", digest)

    def _place(self, digest: str) -> Path:
        return self.workspace.artifacts.root / SIGNED / digest.partition(":")[2]


def _key(workspace: Workspace) -> bytes:
    """The project's key, made on first use."""
    path = workspace.shared / KEY
    workspace.prepare_home()
    if not path.exists():
        temporary = path.with_name(f"{KEY}.{os.getpid()}.partial")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(temporary, path)  # the first of several wins
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()
