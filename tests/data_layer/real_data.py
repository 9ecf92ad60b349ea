"""Where the committed data lies, and the type of the fixture `make_context`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.ports import StepContext

DATA = Path(__file__).parent.parent / "data"

MakeContext = Callable[..., StepContext]
