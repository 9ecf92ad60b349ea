"""Files behind URLs, through fsspec: what identifies them, and their bytes.

No message shows more of a URL than its host and path. Raises NotSupportedError naming the extra that is missing,
UsageError for what is not there or not allowed, TransientError for what does not answer.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from engine.core.canonical import Json, digest
from engine.errors import EngineError, NotSupportedError, TransientError, UsageError
from engine.steps.snapshot import DATA_SUFFIXES

T = TypeVar("T")

ANSWER_WITHIN = 10.0  # seconds that a question about a remote file may take

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
_IDENTITY = ("ETag", "etag", "checksum", "md5Hash", "Content-MD5", "crc32c")
_CHANGED = ("LastModified", "Last-Modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class RemoteFiles:
    """Files of a remote place: their file system, and each one's relative name with what is said of it."""

    url: str
    system: Any
    files: list[tuple[str, Mapping[str, Any]]]

    def identity(self) -> str | None:
        """What identifies the contents of all of them; None when the server says too little."""
        identities = [[relative, _identity(info)] for relative, info in self.files]
        return None if any(identity is None for _, identity in identities) else digest(identities)

    def fetch(self, info: Mapping[str, Any], local: Path) -> None:
        """Copy one of them to a path."""
        translated(self.url, lambda: self.system.get_file(info["name"], str(local)))


def find(url: str, *, wait: float = ANSWER_WITHIN, patient: bool = False) -> RemoteFiles:
    """The files at a URL: one, those of a folder, or those of a glob; sorted.

    The answer must come within `wait` seconds. `patient`: the files may then take as long as they need.
    """
    return _within(wait, url, lambda: _found(url, None if patient else wait))


def shown(url: str) -> str:
    """A URL without user, password, query and fragment, where secrets are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _found(url: str, timeout: float | None) -> RemoteFiles:
    system, path = _file_system(url, timeout)
    scheme = urlsplit(url).scheme
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if scheme in ("http", "https"):  # a web server has no folders
        return RemoteFiles(url, system, [(name or "data", system.info(path))])
    if any(sign in path for sign in "*?["):
        matches = system.glob(path, detail=True)
        base = re.split(r"[*?\[]", path, maxsplit=1)[0].rpartition("/")[0]
        return RemoteFiles(url, system, _listed(matches, base, url))
    info = system.info(path)
    if info["type"] != "directory":
        return RemoteFiles(url, system, [(name, info)])
    return RemoteFiles(url, system, _listed(system.find(path, detail=True), path, url))


def _listed(found: Mapping[str, Mapping[str, Any]], base: str, url: str) -> list[tuple[str, Mapping[str, Any]]]:
    files = [
        (path.removeprefix(base).lstrip("/"), info)
        for path, info in sorted(found.items())
        if info["type"] != "directory" and path.lower().endswith(DATA_SUFFIXES)
    ]
    if not files:
        raise UsageError(f"{shown(url)} holds no data files", remedy=f"Data files end in {', '.join(DATA_SUFFIXES)}.")
    return files


def open_files(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of a URL, opened with further options, and the path there."""
    return _file_system(url, None, options)


def _file_system(url: str, timeout: float | None, options: Mapping[str, Any] = {}) -> tuple[Any, str]:
    import fsspec

    scheme = urlsplit(url).scheme
    try:
        system, path = fsspec.url_to_fs(url, **{**_options(scheme, timeout), **options})
    except ImportError:
        extra = _EXTRAS.get(scheme)
        remedy = f"Install it: pip install 'engine[{extra}]'" if extra else "Use https, s3 or gs."
        raise NotSupportedError(f"reading {scheme}:// needs a package that is not installed", remedy=remedy) from None
    except ValueError:
        raise UsageError(f"{shown(url)}: {scheme}:// is not known", remedy="Use https, s3 or gs.") from None
    return system, path


def _options(scheme: str, timeout: float | None) -> dict[str, Any]:
    """What makes a file system answer, or give up, in time, and never from an earlier answer."""
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme in ("http", "https"):
        import aiohttp

        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=timeout, sock_connect=10, sock_read=60)}
    if scheme in ("s3", "s3a"):
        options["config_kwargs"] = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}
    if scheme == "memory" or scheme == "file":
        return {}
    return options


def _identity(info: Mapping[str, Any]) -> Json:
    """The strongest thing that a server says of a file's content; None when it says too little."""
    for key in _IDENTITY:
        if info.get(key):
            return [key.lower(), str(info[key]), info.get("size")]
    for key in _CHANGED:
        if info.get(key) and info.get("size") is not None:
            return ["changed", str(info[key]), info["size"]]
    return None


# ── questions and their answers ──────────────────────────────────────────────────────────────────────────────


def _within(seconds: float, url: str, ask: Callable[[], T]) -> T:
    """The answer to a question, or TransientError when it takes longer than `seconds`."""
    answers: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            answers.append(translated(url, ask))
        except EngineError as error:
            errors.append(error)

    # A daemon, because a server that never answers must not keep this process alive.
    thread = threading.Thread(target=work, daemon=True, name="observe")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TransientError(f"{shown(url)} did not answer within {seconds:g} seconds")
    return answers[0]


def translated(url: str, act: Callable[[], T]) -> T:
    """The result of an action on a remote file, its failures as errors of ours that show no secret."""
    try:
        return act()
    except EngineError:
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec calls every failure of a web server a missing file
        if cause is not None and getattr(cause, "status", 404) not in (404, 410):
            raise _refusal(url, cause) from None
        if cause is not None and not hasattr(cause, "status") and not isinstance(cause, FileNotFoundError):
            raise _refusal(url, cause) from None
        raise UsageError(f"{shown(url)} does not exist", remedy="Correct data.source.") from None
    except ImportError:
        extra = _EXTRAS.get(urlsplit(url).scheme, "all")
        raise NotSupportedError(
            f"reading {shown(url)} needs a package that is not installed",
            remedy=f"Install it: pip install 'engine[{extra}]'",
        ) from None
    except Exception as error:  # noqa: BLE001 - each service has exceptions of its own
        raise _refusal(url, error) from None


def _refusal(url: str, error: BaseException) -> EngineError:
    status = getattr(error, "status", None)
    kind = f"HTTP {status}" if status else type(error).__name__
    if kind == "NoSuchBucket":
        return UsageError(f"{shown(url)} does not exist: there is no such bucket", remedy="Correct data.source.")
    denied = isinstance(error, PermissionError) or status in (401, 403) or "Credential" in type(error).__name__
    if denied:
        return UsageError(f"{shown(url)} may not be read ({kind})", remedy="Check the credentials in this environment.")
    return TransientError(f"{shown(url)} could not be read ({kind})")
