"""Every error that the engine raises on purpose, and the exit code each one ends with.

EngineError                     exit 1: what went wrong, and what to do about it
├── SpecError                   all mistakes of a spec at once, each with its place
├── UsageError                  a command asked for something that does not fit together
│   └── NotFoundError           there is nothing of that name
├── NotSupportedError           a feature that this installation or version does not have
├── StateError                  the recorded state and the request disagree
│   ├── LockedError             exit 4: another run holds the lease
│   ├── FencedError             this run lost its lease; nothing more may be written
│   ├── StalePlanError          a saved plan that the world has moved on from
│   └── IntegrityError          stored bytes or records are not what was written
├── StepError                   a step failed; running it again unchanged would fail again
│   ├── StepTimeoutError        it ran out of time
│   ├── StepMemoryError         it ran out of memory
│   └── StepCrashedError        its process died
├── TransientError              worth another try later (`retry_after` seconds); only a loop retries
└── GateStoppedError            exit 3: a candidate did not prove what it had to
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True, order=True)
class Diagnostic:
    """One mistake in a file: where it is, what it is, how to mend it.

    `line` and `column` count from 1; 0 means that the whole file is meant.
    """

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = self.message.rstrip(".")
        return f"{place}: {text}. {self.remedy}".rstrip()


class EngineError(Exception):
    """A failure with a remedy. `str()` is the message alone; the command line prints both."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class SpecError(EngineError):
    """A spec or project file that cannot be accepted, with every mistake found in it."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        super().__init__("\n".join(str(d) for d in self.diagnostics))


class UsageError(EngineError):
    """A command asked for something that does not exist or does not fit together."""


class NotFoundError(UsageError):
    """There is no model, release or run of the name that was asked for."""


class NotSupportedError(EngineError):
    """A feature that is not available here; never silently ignored."""


class StateError(EngineError):
    """The recorded state and the request disagree."""


class LockedError(StateError):
    """Another run holds the lease of a model."""

    exit_code = 4

    def __init__(self, model: str, holder: str, since: str) -> None:
        super().__init__(
            f"{model} is locked by {holder} since {since}",
            remedy=f"Wait for it (apply --lock-timeout 10m), or, if it is gone: engine lock release {model}",
        )
        self.model = model
        self.holder = holder
        self.since = since


class FencedError(StateError):
    """This run's lease was taken over; a holder that lost its lease cannot write."""


class StalePlanError(StateError):
    """A saved plan was made for a world that has moved on, or was used before."""


class IntegrityError(StateError):
    """Stored bytes or records differ from what was written."""


class StepError(EngineError):
    """A step failed in a way that trying again unchanged would repeat."""

    def __init__(self, message: str, *, remedy: str = "", log: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.log = log


class StepTimeoutError(StepError):
    """The step ran longer than its `resources.timeout`."""


class StepMemoryError(StepError):
    """The step asked for more than its `resources.memory`."""


class StepCrashedError(StepError):
    """The step's process ended without a result."""


class StepCancelledError(StepError):
    """The step was ended because the user, or a lost lease, ended the run."""


class TransientError(EngineError):
    """Something outside did not answer; worth another try after `retry_after` seconds."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float = 10.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class GateStoppedError(EngineError):
    """A gate's verdict stopped the run; the champion, if there is one, stays."""

    exit_code = 3


def assert_never(value: NoReturn) -> NoReturn:
    """Make a type checker prove that a `match` is exhaustive (typing has it from Python 3.11 on)."""
    raise AssertionError(f"unhandled case: {value!r}")
