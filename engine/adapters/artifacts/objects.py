"""The objects of a store: `<2 hex>/<62 hex>`, one read-only file for each content, named by its digest.

Writing: temporary file → hash → fsync → read-only → rename → fsync of the directory. Reading verifies: an object is
hashed in full unless its size, times and inode are those of its last verification (`verified/`, a cache that may be
deleted). An altered one is set aside in `altered/`. A tree is an object too: the list of its files.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapters.artifacts import manifest
from engine.adapters.artifacts.content import digest_blocks, digest_file
from engine.adapters.artifacts.disk import children, cloned, linked, remove
from engine.adapters.durable import make_durable_folder, sync
from engine.core.canonical import digest_bytes, short
from engine.errors import EngineError, IntegrityError
from engine.failpoints import failpoint

if TYPE_CHECKING:
    from engine.ports import Hashed

COPY_UP_TO = 256 << 20  # bytes; larger files are linked
RACY = 2_000_000_000  # nanoseconds within which a coarse clock may hide a change

# Objects of our own carry one fixed time of modification, so that any later write shows in it.
_OBJECT_TIME = 946_684_800 * 1_000_000_000  # 2000-01-01 UTC; a zip file cannot hold times before 1980
_DAY = 86_400.0  # seconds


class Objects:
    """The objects in the folder `root`, which is created when the first one is stored."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._trees: dict[str, tuple[manifest.Entry, ...]] = {}

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────

    def store(self, path: Path, *, move: bool, known: Hashed | None = None) -> tuple[str, int]:
        """Store one regular file; returns its digest and its size in bytes.

        `known` is the file as it was hashed, if that is certain: a link to that file need not be read.
        """
        with self.temporary() as temporary:
            digest, own = self._bring(path, temporary, move=move, known=known)
            size = temporary.stat().st_size
            if self.is_object(temporary, digest):  # this file was linked before, and is sound as it is
                temporary.unlink()
                self._remember(digest, self.at(digest).stat())
            elif not self._holds(digest):
                self._adopt(temporary, digest, own=own)
            return digest, size

    def store_tree(self, entries: list[manifest.Entry]) -> str:
        """Store the list of a tree's files; returns its digest, which is the tree's."""
        data = manifest.encode(entries)
        digest = digest_bytes(data)
        if not self._holds(digest):
            with self.temporary() as temporary:
                temporary.write_bytes(data)
                self._adopt(temporary, digest, own=True)
        return digest

    def _bring(self, path: Path, temporary: Path, *, move: bool, known: Hashed | None) -> tuple[str, bool]:
        """Make `temporary` the content of `path`. Returns its digest, and whether the file may become read-only."""
        before = path.stat()
        # A file with another name as well is not the caller's alone to give away.
        given = move and before.st_nlink == 1 and not path.is_symlink() and linked(path, temporary)
        if not given and cloned(path, temporary):
            failpoint("artifacts.write")
            return digest_file(temporary), True
        if given or (before.st_size > COPY_UP_TO and linked(path.resolve(), temporary)):
            failpoint("artifacts.write")
            digest = _digest_if_same(known, temporary.stat()) or digest_file(temporary)
            after = path.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise EngineError(
                    f"{path} changed while it was stored", remedy="Let its writer finish, then run the command again."
                )
            return digest, given
        with temporary.open("wb", buffering=0) as file:

            def write(block: memoryview) -> None:
                failpoint("artifacts.write")
                while block:
                    block = block[file.write(block) :]

            return digest_blocks(path, write), True

    def _adopt(self, temporary: Path, digest: str, *, own: bool) -> None:
        """Give a hashed temporary file its place, durably."""
        target = self.at(digest)
        self._trees.pop(digest, None)
        make_durable_folder(target.parent)
        failpoint("artifacts.sync")
        if own:
            os.utime(temporary, ns=(_OBJECT_TIME, _OBJECT_TIME))
            temporary.chmod(0o444)
        sync(temporary)
        inode = temporary.stat().st_ino
        failpoint("artifacts.rename")
        temporary.replace(target)
        failpoint("artifacts.renamed")
        sync(target.parent)
        status = target.stat()
        if status.st_ino == inode:  # else another process has just put the same content in its place
            self._remember(digest, status)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────

    def entries(self, digest: str) -> tuple[manifest.Entry, ...]:
        """The files of a tree, unverified. Raises OSError, IntegrityError."""
        # The manifest is named by its content, so what was read once stays true; its presence is asked each time.
        if digest not in self._trees:
            self._trees[digest] = manifest.decode(self.at(digest).read_bytes())
        elif self.size(digest) is None:
            raise FileNotFoundError(digest)
        return self._trees[digest]

    def __contains__(self, digest: str) -> bool:
        with contextlib.suppress(IntegrityError):  # no digest at all
            return self.size(digest) is not None
        return False

    def read_entries(self, digest: str) -> tuple[manifest.Entry, ...]:
        """The files of a tree, from bytes that are verified whatever was noted. Raises IntegrityError."""
        try:
            data = self.at(digest).read_bytes()
        except OSError as error:
            raise IntegrityError(f"{short(digest)} cannot be read: {error.strerror}") from None
        if digest_bytes(data) != digest:
            raise IntegrityError(f"the list of files {short(digest)} was altered after it was stored")
        return manifest.decode(data)

    def size(self, digest: str) -> int | None:
        """How many bytes an object has; None if it is not there."""
        try:
            return os.stat(self.place(digest)).st_size  # noqa: PTH116 - planning asks this thousands of times
        except OSError:
            return None

    def verify(self, digest: str, what: str) -> None:
        """Raise IntegrityError unless the object is there and its bytes are what its name says."""
        try:
            if self._sound(digest):
                return
        except FileNotFoundError:
            raise IntegrityError(
                f"{what} ({short(digest)}) is missing from the artifact store",
                remedy="Run `engine apply` again: the step that made it will run.",
            ) from None
        except OSError as error:
            raise EngineError(f"{what} ({short(digest)}) cannot be read: {error.strerror}") from error
        aside = self._set_aside(digest)
        raise IntegrityError(
            f"{what} ({short(digest)}) was altered after it was stored",
            remedy=f"It was set aside in {aside}. Run `engine apply` again: the step that made it will run.",
        )

    def is_object(self, path: Path, digest: str) -> bool:
        """Whether a path is a name of the object itself."""
        try:
            return path.samefile(self.at(digest))
        except OSError:
            return False

    @contextlib.contextmanager
    def relinking(self, digest: str) -> Iterator[None]:
        """Renew an object's note when nothing but its ctime changes, as making, moving and removing links does."""
        before = self.at(digest).stat()
        known = self._noted(digest) == _signature(before)
        yield
        after = self.at(digest).stat()
        same = (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
        if known and same:
            self._remember(digest, after)

    def members(self, digest: str) -> Iterator[str]:
        """The digests inside a tree; none for a file, and none for what is not there."""
        with contextlib.suppress(OSError, IntegrityError):
            place = self.at(digest)
            with place.open("rb") as file:
                if not manifest.is_manifest(file.read(64)):
                    return
            yield from [entry.digest for entry in manifest.decode(place.read_bytes())]

    def all(self) -> Iterator[str]:
        """The digest of every object."""
        for folder in children(self.root):
            if len(folder.name) == 2:
                yield from (f"blake3:{folder.name}{place.name}" for place in children(folder))

    def _holds(self, digest: str) -> bool:
        """Whether the object is there and sound; one that is not is replaced by whoever asks."""
        try:
            return self._sound(digest)
        except OSError:
            return False

    def _sound(self, digest: str) -> bool:
        """Whether the object's bytes are what its name says. Raises OSError."""
        place = self.at(digest)
        before = place.stat()
        if self._noted(digest) == _signature(before):
            return True
        started = time.time_ns()
        if digest_file(place) != digest:
            return False
        after = place.stat()
        if _signature(after) == _signature(before) and after.st_mtime_ns < started - RACY:
            self._remember(digest, after)
        return True

    def _noted(self, digest: str) -> str:
        """The status in which the object was last found sound."""
        try:
            return self.note(digest).read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""

    def _remember(self, digest: str, status: os.stat_result) -> None:
        """Note that the object was sound with this status. Only a cache: no failure matters."""
        note = self.note(digest)
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            with self.temporary() as temporary:
                temporary.write_text(_signature(status), encoding="ascii")
                temporary.replace(note)

    def _set_aside(self, digest: str) -> Path:
        place = self.at(digest)
        self._trees.pop(digest, None)
        aside = self.root / "altered" / place.name
        with contextlib.suppress(OSError):
            aside.parent.mkdir(parents=True, exist_ok=True)
            place.replace(aside)
        return aside

    # ── places ───────────────────────────────────────────────────────────────────────────────────────────────

    def at(self, digest: str) -> Path:
        """Where the object is, or would be."""
        return Path(self.place(digest))

    def place(self, digest: str) -> str:
        """The same as text, for speed. Raises IntegrityError for what is no digest."""
        kind, _, digits = digest.partition(":")
        if kind != "blake3" or len(digits) != 64 or not digits.isalnum():
            raise IntegrityError(f"{digest[:80]!r} is not a digest of this store")
        return f"{self.root}/{digits[:2]}/{digits[2:]}"

    def note(self, digest: str) -> Path:
        """Where it is noted that the object was found sound."""
        return self.root / "verified" / self.at(digest).relative_to(self.root)

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Path]:
        """A path in the store that does not exist yet, and does not exist any more afterwards."""
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{os.uname().nodename}.{os.getpid()}.{os.urandom(8).hex()}"
        try:
            yield path
        finally:
            remove(path)

    def remove_strays(self) -> None:
        """Remove what writers that are gone have left, and what was set aside."""
        for stray in children(self.root / "tmp"):
            if not _in_use(stray):
                remove(stray)
        remove(self.root / "altered")


def _signature(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _digest_if_same(known: Hashed | None, status: os.stat_result) -> str | None:
    """What a file held when it was hashed, if this is the same file and nobody has written to it since.

    Its ctime is no sign: a link changes it.
    """
    same = known is not None and known[1:] == (status.st_size, status.st_mtime_ns, status.st_ino)
    return known.digest if known is not None and same else None


def _in_use(temporary: Path) -> bool:
    """Whether the writer of a temporary file may still be at work; one of another host is believed for a day."""
    host, _, process = temporary.name.rpartition(".")[0].rpartition(".")
    if host != os.uname().nodename or not process.isdigit():
        return time.time() - temporary.lstat().st_mtime < _DAY
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
