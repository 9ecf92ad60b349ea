"""Digests of files: every way to read them gives the same, block by block, and a failing consumer ends the reading."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from blake3 import blake3

from engine.adapters.artifacts import content

SIZES = (0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, content.BLOCK, 3 * content.BLOCK + 12_345)


@pytest.mark.parametrize("ahead_from", [0, 1 << 40], ids=["ahead", "plainly"])
@pytest.mark.parametrize("size", SIZES)
def test_digest_and_blocks(size: int, ahead_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_AHEAD_FROM", ahead_from)
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    taken = bytearray()
    assert content.digest_blocks(tmp_path / "file", taken.extend) == f"blake3:{blake3(data).hexdigest()}"
    assert taken == data


def test_a_failing_consumer_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_AHEAD_FROM", 0)
    (tmp_path / "file").write_bytes(bytes(3 * content.BLOCK))
    seen: list[int] = []

    def fail(block: memoryview) -> None:
        seen.append(len(block))
        if len(seen) == 2:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        content.digest_blocks(tmp_path / "file", fail)
    assert len(seen) == 2
    assert threading.active_count() == 1
