"""Files and folders of a store: cloned where the file system can, removed without complaint."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import EngineError, UsageError

FULL = (errno.ENOSPC, errno.EDQUOT)

_FICLONE = 0x40049409  # ioctl of linux/fs.h: share the blocks of another file


@contextlib.contextmanager
def storing(name: str) -> Iterator[None]:
    """Turn the system's refusals into errors with a remedy."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise UsageError(
                f"cannot store {name}: {error.filename or ''}: {error.strerror}",
                remedy="Check that it exists and may be read, and that .engine may be written.",
            ) from error
        remedy = "Free some space" if error.errno in FULL else "Check the disk"
        raise EngineError(
            f"cannot store {name}: {error.strerror or error}",
            remedy=f"{remedy}, then run the command again: it goes on where it stopped.",
        ) from error


def walk(folder: Path, *, links: bool = False) -> Iterator[tuple[str, Path]]:
    """The regular files under a folder with their relative paths. Raises UsageError for anything else."""
    pending = [("", folder)]
    while pending:
        prefix, current = pending.pop()
        with os.scandir(current) as found:
            for child in found:
                relative = f"{prefix}{child.name}"
                if child.is_dir(follow_symlinks=False):
                    pending.append((f"{relative}/", Path(child.path)))
                elif child.is_file(follow_symlinks=links):
                    yield relative, Path(child.path)
                else:
                    raise UsageError(
                        f"{child.path} is a link, a pipe or a device, which cannot be stored",
                        remedy="Write a regular file there instead.",
                    )


def cloned(path: Path, target: Path) -> bool:
    """Make `target` share the blocks of `path`, on file systems that can (btrfs, XFS)."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        with path.open("rb") as source, target.open("wb") as copy:
            fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno in (errno.ENOENT, errno.EACCES, errno.EIO, *FULL):
            raise
        return False
    return True


def linked(path: Path, target: Path) -> bool:
    """Make `target` another name of the file `path`, where that can be done."""
    try:
        target.hardlink_to(path)
    except OSError:  # another file system, or one without links: it is copied
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        import shutil  # costs 5 ms, which planning can do without

        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def children(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing if there is none."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
