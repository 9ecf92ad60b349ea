"""`python -m bench [NAME…]`: run benchmarks (all without a name); `python -m bench setup`: install the peers."""

from __future__ import annotations

import compileall
import json
import os
import platform
import sys
from importlib import import_module
from pathlib import Path

import click

from bench.options import Options

ROOT = Path(__file__).parent.parent
NAMES = (
    "plan",
    "apply",
    "ledger",
    "snapshot",
    "corpus",
    "compiled",
    "log",
    "idle",
    "serving",
    "overload",
    "delivery",
    "drift",
)


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice([*NAMES, "setup"]))
@click.option("--runs", default=7, show_default=True, help="How often each command is measured, after a warm-up.")
@click.option("--full", is_flag=True, help="10,000 specs, a 2 GB file: needs minutes and disk.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--home", type=click.Path(path_type=Path), default=ROOT / ".bench", help="Where peers and projects go.")
def main(names: tuple[str, ...], runs: int, full: bool, as_json: bool, home: Path) -> None:
    from bench import peers, report

    prepare(home)
    if names == ("setup",):
        click.echo(peers.set_up(home))
        return
    click.echo(describe(home), err=True)
    done = []
    for name in names or NAMES:
        done.append(import_module(f"bench.{name}").run(Options(home, runs, full)))
        if not as_json:
            report.show(done[-1])
    if as_json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        click.echo(json.dumps(report.as_json(done, machine), indent=2))


def prepare(home: Path) -> None:
    """The folder for peers and projects, unknown to git; and compiled modules, as an installation has them."""
    home.mkdir(parents=True, exist_ok=True)
    (home / ".gitignore").write_text("*\n")
    compileall.compile_dir(ROOT / "engine", quiet=1)


def describe(home: Path) -> str:
    """What is measured, in a few lines."""
    from bench import peers

    lines = [f"engine's modules are compiled; Python {platform.python_version()}, {os.cpu_count()} CPUs"]
    for name, path in peers.found(home).items():
        lines.append(f"{name}: {path or 'not installed, skipped (python -m bench setup installs all but terraform)'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
