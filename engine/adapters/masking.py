"""Secrets out of what is shown or kept: out of single texts, and out of a log as it is written.

Longer secrets are replaced first, so that one which contains another leaves nothing of itself behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

MASK = "***"

_USERINFO = re.compile(r"(?<=://)[^/\s@]*:[^\s@]*@|(?<=://)[^/\s@:]+@")
_SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY$|ACCESS_KEY|CREDENTIAL|CONNECTION_STRING", re.IGNORECASE)
_SHORTEST = 3  # characters of a variable's value that is masked; shorter ones stand in any text


def secrets_of(environment: Mapping[str, str], uris: Iterable[str]) -> set[str]:
    """The values of variables that are named like secrets, and the passwords of URIs, as written and decoded."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
    for uri in uris:
        password = urlsplit(uri).password
        if password:
            found |= {password, unquote(password)}
    return {secret for secret in found if len(secret) >= _SHORTEST}


def masker(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that replaces every secret of a text, and any user info in a URI."""
    ordered = _longest_first(secrets)

    def mask(text: str) -> str:
        for secret in ordered:
            text = text.replace(secret, MASK)
        return _USERINFO.sub(f"{MASK}@", text)

    return mask


class MaskedLog:
    """A log file in which secrets never appear, wherever the writes happen to cut them.

    It holds back the few bytes that may be the beginning of a secret.
    """

    def __init__(self, path: Path, secrets: Iterable[str]) -> None:
        self._secrets = [secret.encode() for secret in _longest_first(secrets)]
        self._held = b""
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0)

    def __enter__(self) -> MaskedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.write(self._masked(self._held))
        self._file.close()

    def write(self, data: bytes) -> None:
        """Take what was printed, and pass on all that cannot be part of a secret that is still coming."""
        text = self._masked(self._held + data)
        cut = len(text) - self._longest_beginning(text)
        self._held = text[cut:]
        self._file.write(text[:cut])

    def _masked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            data = data.replace(secret, MASK.encode())
        return data

    def _longest_beginning(self, text: bytes) -> int:
        """How many of the last bytes are the beginning of some secret."""
        longest = 0
        for secret in self._secrets:
            for size in range(min(len(secret) - 1, len(text)), longest, -1):
                if text.endswith(secret[:size]):
                    longest = size
                    break
        return longest


def _longest_first(secrets: Iterable[str]) -> list[str]:
    return sorted({secret for secret in secrets if secret}, key=lambda secret: (-len(secret), secret))
