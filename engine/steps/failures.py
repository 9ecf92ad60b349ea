"""What user code raises, told in one line; the whole of it goes to the step's log."""

from __future__ import annotations

import traceback

from engine.errors import StepError

_MOST_SHOWN = 400


def failure(what: str, error: Exception) -> StepError:
    """The error to raise for one that user code raised; prints its traceback. `what` ends in a word like "raised"."""
    traceback.print_exception(type(error), error, error.__traceback__)
    text = " ".join(str(error).split()) or "no message"
    message = f"{what} {type(error).__name__}: {text[:_MOST_SHOWN]}"
    return StepError(message, remedy="The whole message is in the log.")
