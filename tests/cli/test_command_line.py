"""What all commands share: help, global options, errors, lazy imports, colours, broken pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_project import check_golden, edit, make_project
from command_line import Call

from engine.cli.program import COMMANDS, program
from engine.cli.reference import render_reference

ROOT = Path(__file__).parents[2]
HEAVY = {"rich", "pydantic", "sqlalchemy", "yaml", "networkx", "pandas", "numpy", "mlflow", "sklearn", "matplotlib"}


def every_command() -> list[list[str]]:
    """The words of each command, subcommands too."""
    context = click.Context(program())
    found = []
    for name in program().list_commands(context):
        command = program().get_command(context, name)
        if isinstance(command, click.Group):
            found += [[name, sub] for sub in command.commands]
        found.append([name])
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_helps_with_an_example(words: list[str], tmp_path: Path, call: Call) -> None:
    came = call(tmp_path, *words, "--help")
    assert came.code == 0
    assert f"Usage: engine {' '.join(words)}" in came.out
    examples = came.out.partition("Examples:")[2]
    assert f"engine {words[0]}" in examples
    assert call(tmp_path, *words, "-h").out == came.out


def test_the_reference_is_in_step() -> None:
    written = (ROOT / "docs/cli.md").read_text()
    assert written == render_reference(), "write it again: python -m engine.cli.reference > docs/cli.md"


def imported(folder: Path, *argv: str) -> set[str]:
    """The top-level modules of a process that ran a command line."""
    source = (
        "import sys; from engine.cli.entry import run; code = run(sys.argv[1:]);"
        "print(code, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", source, *argv], cwd=folder, capture_output=True, text=True, check=True)
    code, *modules = done.stderr.strip().splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(modules)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["plan", "--help"]])
def test_help_imports_nothing_heavy(tmp_path: Path, argv: list[str]) -> None:
    assert not imported(tmp_path, *argv) & HEAVY


def test_a_plan_with_nothing_new_imports_nothing_heavy(applied: Path) -> None:
    os.utime(applied / "data/churn.csv", (1_700_000_000, 1_700_000_000))
    imported(applied, "plan")
    assert not imported(applied, "plan") & HEAVY
    assert not imported(applied, "status") & HEAVY


def test_mistakes_of_a_spec(project: Path, call: Call) -> None:
    edit(project / "specs/churn.yaml", "threshold: 0.6", "treshold: 0.6, metrik: x")
    edit(project / "specs/churn.yaml", "strategy: canary", "strategy: canarry")
    for command in ("validate", "plan"):
        came = call(project, command)
        assert (came.code, came.out) == (1, "")
        check_golden("spec_mistakes.txt", came.err)
    document = json.loads(call(project, "validate", "--json").out)
    assert document["error"]["kind"] == "spec"
    places = [(d["file"], d["line"]) for d in document["error"]["diagnostics"]]
    assert places == sorted(places)
    assert all(d["remedy"] and d["message"] and d["column"] for d in document["error"]["diagnostics"])


def test_validate_is_silent(project: Path, call: Call) -> None:
    came = call(project, "validate")
    assert (came.code, came.out, came.err) == (0, "", "")
    document = json.loads(call(project, "validate", "--json").out)
    assert [model["name"] for model in document["models"]] == ["churn"]


def test_a_wrong_command_line_is_1_and_never_2(project: Path, call: Call) -> None:
    assert call(project, "plan", "--bogus").code == 1
    came = call(project, "plna")
    assert came.code == 1
    assert 'Did you mean "plan"?' in came.err
    document = json.loads(call(project, "plan", "--json", "--bogus").out)
    assert document["error"]["kind"] == "usage"
    assert json.loads(call(project, "show", "nothing", "--json").out)["error"]["remedy"]


def test_a_defect_goes_into_a_file(applied: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("engine.app.inspecting.status", broken)
    came = call(applied, "status")
    assert came.code == 1
    assert "defect" in came.err
    assert "Traceback" not in came.err + came.out
    [crash] = (applied / ".engine").glob("crash-*.log")
    assert "ZeroDivisionError: of all things" in crash.read_text()
    assert crash.stat().st_mode & 0o077 == 0
    assert json.loads(call(applied, "status", "--json").out)["error"]["kind"] == "defect"
    monkeypatch.setenv("ENGINE_TRACEBACK", "1")
    monkeypatch.chdir(applied)
    from engine.cli.entry import run

    with pytest.raises(ZeroDivisionError):
        run(["status"])


def test_a_reader_that_leaves_is_no_error(applied: Path) -> None:
    command = f"set -o pipefail; {sys.executable} -m engine audit list | true"
    done = subprocess.run(["bash", "-c", command], cwd=applied, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_no_color(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    assert "\x1b[" in on_a_terminal(project, ["plan"], plain)
    assert "\x1b[" not in on_a_terminal(project, ["plan"], {**plain, "NO_COLOR": "1"})
    assert "\x1b[" not in on_a_terminal(project, ["plan", "--no-color"], plain)
    assert "\x1b[" not in on_a_terminal(project, ["--no-color", "plan"], plain)


def on_a_terminal(folder: Path, argv: list[str], environment: dict[str, str]) -> str:
    """What a command prints on a terminal."""
    parent, child = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", *argv],
        cwd=folder,
        env=environment,
        stdin=child,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    data = b""
    try:
        while block := os.read(parent, 65536):
            data += block
    except OSError:  # a terminal whose last user has gone
        pass
    finally:
        os.close(parent)
    assert process.wait(60) == 0
    return data.decode()


def test_the_table_of_commands_is_complete() -> None:
    files = {path.stem for path in (ROOT / "engine/cli/commands").glob("*.py")} - {"__init__"}
    assert files == {name for section in COMMANDS.values() for name in section}
