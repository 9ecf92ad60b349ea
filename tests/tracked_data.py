"""A DVC repository with a local remote: made by hand as DVC makes it, or by DVC itself where it is installed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).parents[1] / ".bench/dvc/bin/dvc"


def find_dvc() -> str | None:
    """DVC's command: that of the benchmarks, or one on the path."""
    return str(BENCH) if BENCH.exists() else os.environ.get("ENGINE_DVC") or shutil.which("dvc")


def git(folder: Path, *words: str) -> str:
    """Run git, as nobody in particular."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class TrackedData:
    """A git and DVC repository in `root`, its remote in `remote`. `dvc`: DVC's command, None to do it by hand."""

    root: Path
    remote: Path
    dvc: str | None = None

    def begin(self) -> None:
        """Make both repositories."""
        git(self.root, "init", "--quiet", "--initial-branch=main")
        self.remote.mkdir(parents=True, exist_ok=True)
        if self.dvc:
            self._dvc("init", "--quiet")
            self._dvc("config", "core.analytics", "false")
            self._dvc("remote", "add", "--quiet", "--default", "storage", str(self.remote))
        else:
            (self.root / ".dvc").mkdir()
            text = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {self.remote}\n"
            (self.root / ".dvc/config").write_text(text)

    def track(self, path: str, content: str | Mapping[str, str], tag: str = "") -> None:
        """Track a file or a folder, push it, commit its record; its bytes are then in the remote alone."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(content, str):
            place.unlink(missing_ok=True)
            place.write_text(content)
        else:
            for name, text in content.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
        if self.dvc:
            self._dvc("add", "--quiet", path)
            self._dvc("push", "--quiet")
            shutil.rmtree(self.root / ".dvc/cache", ignore_errors=True)
        else:
            (place.parent / f"{place.name}.dvc").write_text(self._record(place))
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "-m", f"{path} {tag}")
        if tag:
            git(self.root, "tag", tag)

    def _record(self, place: Path) -> str:
        if place.is_file():
            content = place.read_bytes()
            size = f"  size: {len(content)}\n"
            return f"outs:\n- md5: {self._push(content)}\n{size}  hash: md5\n  path: {place.name}\n"
        files = sorted((file.relative_to(place).as_posix(), file) for file in place.rglob("*") if file.is_file())
        listing = [{"md5": self._push(file.read_bytes()), "relpath": name} for name, file in files]
        md5 = self._push(json.dumps(listing).encode(), ".dir")
        return f"outs:\n- md5: {md5}\n  nfiles: {len(files)}\n  hash: md5\n  path: {place.name}\n"

    def _push(self, content: bytes, suffix: str = "") -> str:
        md5 = hashlib.md5(content).hexdigest() + suffix
        kept = self.remote / "files/md5" / md5[:2] / md5[2:]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
        return md5

    def _dvc(self, *words: str) -> None:
        subprocess.run([str(self.dvc), *words], cwd=self.root, check=True, capture_output=True)


def rows(number: int, seed: int) -> str:
    """A table that a linear model understands well enough."""
    generator = random.Random(seed)
    lines = ["customer,months,calls,plan,churned"]
    for index in range(number):
        months, calls = generator.randint(0, 60), generator.randint(0, 9)
        leaves = calls * 6 - months + generator.gauss(0, 10) > 0
        lines.append(f"c{index},{months},{calls},{generator.choice('abc')},{'yes' if leaves else 'no'}")
    return "\n".join(lines) + "\n"
