"""Bearer tokens: who may ask for predictions, control, or approve. Only salted hashes are kept, in one file.

A token is for one purpose and never stands in for another. Tokens are 256 random bits, so one round of SHA-256 under
a salt is as good as a slow hash. Whatever compares one does so in constant time, with every token of the file. A file
that cannot be read admits nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import Any

from engine.core.canonical import utc
from engine.errors import IntegrityError, UsageError

FILE = "tokens.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LOOK_SECONDS = 0.25  # between two looks at the file, so that what is revoked is refused soon


class Purpose(str, Enum):
    """What a token is for."""

    CONTROL = "control"
    PREDICT = "predict"
    APPROVE = "approve"


@dataclass(frozen=True)
class Token:
    """A token as it is kept. Times are UTC; `expires_at` is None for one that never does."""

    name: str
    purpose: Purpose
    salt: str
    hash: str
    created_at: str
    expires_at: str | None = None

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and utc(now) >= self.expires_at


class TokenFile:
    """The tokens of a project, in a file that its owner alone may read. Changes are made under a lock beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def tokens(self) -> Sequence[Token]:
        """All of them, by name; none without the file. Raises IntegrityError when it is not what was written."""
        try:
            document = json.loads(self._path.read_bytes())
            return [_token(entry) for entry in document["tokens"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{self._path} cannot be read as tokens: {error}",
                remedy="Remove it, and make new ones: engine token create --for control",
            ) from error

    def create(self, purpose: Purpose, name: str | None = None, lasts: timedelta | None = None) -> tuple[Token, str]:
        """A new token, and its secret text, which is kept nowhere. Raises UsageError for a name that is taken."""
        now = datetime.now(timezone.utc)
        secret = f"engine_{purpose.value}_{secrets.token_urlsafe(32)}"
        salt = secrets.token_hex(16)
        with self._locked():
            known = list(self.tokens())
            chosen = name or _free(purpose.value, {token.name for token in known})
            _refuse_name(chosen, {token.name for token in known})
            expires = None if lasts is None else utc(now + lasts)
            token = Token(chosen, purpose, salt, _hash(salt, secret.encode()), utc(now), expires)
            self._write([*known, token])
        return token, secret

    def revoke(self, name: str) -> Token:
        """Forget a token. Raises UsageError for a name that is not known."""
        with self._locked():
            known = list(self.tokens())
            found = next((token for token in known if token.name == name), None)
            if found is None:
                names = ", ".join(token.name for token in known) or "none"
                raise UsageError(f"there is no token {name}", remedy=f"Tokens: {names}.")
            self._write([token for token in known if token is not found])
        return found

    def _write(self, tokens: Sequence[Token]) -> None:
        entries = [{**asdict(token), "purpose": token.purpose.value} for token in sorted(tokens, key=lambda t: t.name)]
        data = json.dumps({"format_version": 1, "tokens": entries}, indent=2).encode()
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(6)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written: {error.strerror}", remedy="Check its folder.") from error
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock

        with FileLock(self._path.with_name(self._path.name + ".lock"), mode=0o600):
            yield


class Door:
    """Tells whose token a request carries. Follows the file, so that a revoked token is refused without a restart.

    `extra` is a further token for predictions, which a deployment hands over in a file of its own.
    """

    def __init__(self, file: TokenFile, purpose: Purpose, extra: str | None = None) -> None:
        self._file = file
        self._purpose = purpose
        self._extra = extra if purpose is Purpose.PREDICT else None
        self._looked = -_LOOK_SECONDS
        self._seen: tuple[int, int, int] | None = None
        self._tokens: Sequence[Token] = ()

    def who(self, authorization: bytes) -> str | None:
        """The name of the token in the value of an `Authorization` header; None for one that opens nothing."""
        kind, _, given = authorization.partition(b" ")
        if kind.lower() != b"bearer":
            return None
        given, now, found = given.strip(), datetime.now(timezone.utc), None
        for token in self._current():
            fits = hmac.compare_digest(_hash(token.salt, given), token.hash)
            if fits and token.purpose is self._purpose and not token.has_expired(now):
                found = token.name
        if self._extra is not None and hmac.compare_digest(given, self._extra.encode()):
            found = "token-file"
        return found

    def opens(self) -> bool:
        """Whether there is any token that would do now."""
        now = datetime.now(timezone.utc)
        usable = (token.purpose is self._purpose and not token.has_expired(now) for token in self._current())
        return self._extra is not None or any(usable)

    def _current(self) -> Sequence[Token]:
        now = monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                stat = self._file.path.stat()
                seen = stat.st_ino, stat.st_mtime_ns, stat.st_size
                if seen != self._seen:
                    self._tokens, self._seen = self._file.tokens(), seen
            except (OSError, IntegrityError):
                self._tokens, self._seen = (), None
        return self._tokens


def _hash(salt: str, secret: bytes) -> str:
    return hashlib.sha256(salt.encode() + secret).hexdigest()


def _token(entry: Any) -> Token:
    token = Token(**entry)
    if not all(isinstance(text, str) for text in (token.name, token.salt, token.hash, token.created_at)):
        raise TypeError("a token's fields are text")
    return replace(token, purpose=Purpose(token.purpose))


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _refuse_name(name: str, taken: set[str]) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f'"{name}" cannot be the name of a token', remedy="Use letters, digits, ., _ and -.")
    if name in taken:
        raise UsageError(f"there is a token {name} already", remedy=f"Revoke it: engine token revoke {name}")
