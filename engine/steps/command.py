"""Commands of the user: a program in any language, with a contract of files and environment variables.

It runs without a shell, in the step's scratch folder, in which the declared inputs and the project's code lie under
their own paths. `ENGINE_INPUT_<ROLE>` and `ENGINE_OUTPUT_<ROLE>` are paths; see docs/run-contract.md for all of it.
What it prints goes to the step's log. It has done its work when it exits with 0 and every declared output is there.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from engine.errors import StepError
from engine.ports import StepContext, StepOutcome

_PR_SET_PDEATHSIG = 1
_REFERENCE = re.compile(r"\$\{(inputs|outputs)\.([A-Za-z0-9_]+)\}")


def run(context: StepContext) -> StepOutcome:
    """A step of the user's own. Raises StepError when it fails or leaves an output unwritten."""
    block = context.settings["steps"][context.step]
    environment = {name: context.resolve(value) for name, value in (block.get("environment") or {}).items()}
    execute(block["run"], context.inputs, context.outputs, environment, context.scratch)
    written = sum(_size(path) for path in context.outputs.values())
    names = ", ".join(path.name for path in context.outputs.values())
    return StepOutcome(facts={"bytes": written}, summary=f"wrote {names}" if names else "done")


def execute(
    argv: Sequence[str],
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    environment: Mapping[str, str],
    folder: Path,
) -> None:
    """Run a command in `folder` and wait for it; afterwards every output exists.

    `environment` is added to the process's own and to the variables of the contract. Raises StepError.
    """
    arguments = [_filled(argument, inputs, outputs) for argument in argv]
    variables = {**os.environ, **_paths("INPUT", inputs), **_paths("OUTPUT", outputs), **environment}
    variables["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), variables.get("PATH", os.defpath)))
    sys.stdout.flush()
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            arguments,
            cwd=folder,
            env=variables,
            check=False,
            stdin=subprocess.DEVNULL,
            preexec_fn=_dying_with(os.getpid()),
        )
    except FileNotFoundError:
        raise StepError(
            f"the program {arguments[0]} does not exist", remedy="Install it, or name it by a path in the project."
        ) from None
    except OSError as error:
        raise StepError(f"{arguments[0]} cannot be run: {error.strerror}", remedy="Is it executable?") from None
    if done.returncode:
        raise StepError(f"{arguments[0]} {_ending(done.returncode)}", remedy="Its own output is in the log.")
    for role, path in outputs.items():
        if not path.exists():
            raise StepError(
                f"{arguments[0]} ended well, but its output {role} is not there",
                remedy=f"It must write to ${{outputs.{role}}}, which is also in ENGINE_OUTPUT_{_variable(role)}.",
            )


def _dying_with(parent: int) -> Callable[[], None]:
    """What makes a child process die with its parent, where the system can (Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def prepare() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"


def _filled(argument: str, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> str:
    known = {"inputs": inputs, "outputs": outputs}

    def path(match: re.Match[str]) -> str:
        side, role = match.groups()
        if role not in known[side]:
            near = get_close_matches(role, known[side], n=1)
            hint = f'Did you mean "{near[0]}"?' if near else f"There are: {', '.join(known[side]) or 'none'}."
            raise StepError(f"the command names ${{{side}.{role}}}, which does not exist", remedy=hint)
        return str(known[side][role])

    return _REFERENCE.sub(path, argument)


def _paths(kind: str, paths: Mapping[str, Path]) -> dict[str, str]:
    return {f"ENGINE_{kind}_{_variable(role)}": str(path) for role, path in paths.items()}


def _variable(role: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", role).upper()


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
