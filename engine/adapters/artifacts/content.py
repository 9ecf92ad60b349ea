"""The bytes of files: their digest, in constant memory.

Files are read, never mapped: a mapped file that somebody shortens meanwhile would kill this process (SIGBUS).
Of a large file the next block is read while this one is hashed: measured on two cores, that takes two thirds of the
time of one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

from blake3 import blake3

BLOCK = 4 << 20  # bytes

_THREADED_FROM = 1 << 20  # bytes; below it, threads cost more than they bring
_AHEAD_FROM = 64 << 20  # bytes; below it, a thread to read ahead costs more than it brings


def digest_file(path: str | Path) -> str:
    """The digest `blake3:<hex>` of a file's bytes. Raises OSError."""
    return digest_blocks(path, _forget)


def digest_start(path: str | Path, size: int) -> str:
    """The digest of the first `size` bytes of a file that grows. Raises OSError."""
    hasher = blake3()
    for block in start_of(path, size):
        hasher.update(block)
    return f"blake3:{hasher.hexdigest()}"


def start_of(path: str | Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file in blocks; fewer if it is shorter. Raises OSError."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - `path` may be a plain string, for speed
        while size > 0 and (block := file.read(min(BLOCK, size))):
            yield block
            size -= len(block)


def _forget(_block: memoryview) -> None:
    """A consumer for who wants the digest alone."""


def digest_blocks(path: str | Path, consume: Callable[[memoryview], object]) -> str:
    """The digest of a file's bytes, each block of which is handed to `consume` on the way. Raises OSError."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - `path` may be a plain string, for speed
        first = file.read(_THREADED_FROM)
        if len(first) < _THREADED_FROM:
            consume(memoryview(first))
            hasher = blake3(first)
            while more := file.read(_THREADED_FROM):
                consume(memoryview(more))
                hasher.update(more)
            return f"blake3:{hasher.hexdigest()}"
        hasher = blake3(first, max_threads=blake3.AUTO)
        consume(memoryview(first))
        for block in _read_ahead(file) if os.fstat(file.fileno()).st_size >= _AHEAD_FROM else _read(file):
            consume(block)
            hasher.update(block)
        return f"blake3:{hasher.hexdigest()}"


def _read(file: FileIO) -> Iterator[memoryview]:
    """The rest of a file in blocks; each is valid until the next one is asked for."""
    block = memoryview(bytearray(BLOCK))
    while count := file.readinto(block):
        yield block[:count]


def _read_ahead(file: FileIO) -> Iterator[memoryview]:
    """The same, with the next block read by a thread meanwhile."""
    from concurrent.futures import ThreadPoolExecutor  # costs some milliseconds, which planning can do without

    block, spare = memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(file.readinto, block)
        while count := coming.result():
            coming = reader.submit(file.readinto, spare)
            yield block[:count]
            block, spare = spare, block
