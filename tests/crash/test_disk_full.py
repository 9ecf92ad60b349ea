"""A disk that really is full: a clear error, nothing half written, and a clean resume once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Life, copy_of

Lives = Callable[..., Life]
Same = Callable[..., None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize(
    "room", [0, 96_000, 400_000, 550_000] if os.environ.get("ENGINE_SOAK") == "1" else [96_000, 550_000]
)
def test_disk_fills_up(projects: Path, same: Same, small_disk: Path, tmp_path: Path, room: int) -> None:
    """`room` bytes are left: enough for nothing, a state, some steps."""
    one = copy_of(Life(projects / "new"), small_disk / "project", tmp_path / "aside")
    filler = small_disk / "filler"
    _fill(filler, small_disk, room)
    ended = one.apply("", "--target", "validate")
    assert ended.code == 1, ended.text
    assert "no space left" in ended.text.lower()
    assert "Traceback" not in ended.text
    assert "defect" not in ended.text
    filler.unlink()
    same(one, "validate")


def _fill(filler: Path, disk: Path, room: int) -> None:
    with filler.open("wb") as file:
        free = shutil.disk_usage(disk).free
        file.write(b"\0" * max(0, free - room))
