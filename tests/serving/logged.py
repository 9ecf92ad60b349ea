"""Prediction logs without a gateway: made-up requests, a writer, and writers that die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.clock import Clock, system_clock
from engine.serving.counting import Part
from engine.serving.prediction_log import PredictionLog
from engine.serving.prediction_log_files import LOG, read_log
from engine.serving.prediction_log_format import ASSIGNED, Prediction, id_text
from engine.serving.settings import LogSettings
from engine.serving.signature import Signature
from engine.serving.wire import OWN, Reply, Request

CLASSES = Signature((("months", "numeric"), ("plan", "categorical")), ("no", "yes"), "yes", "customer")
NUMBERS = Signature((("months", "numeric"),), (), None)
STABLE = Part("churn", 7, 3, "stable", 0.25)
CANDIDATE = Part("churn", 7, 4, "candidate", 0.25)


def asked(months: float = 3, form: int = OWN) -> Request:
    """One row."""
    return Request(0, form, 0, json.dumps({"instances": [{"months": months, "plan": "ä"}]}).encode())


def said(label: str = "yes", share: float = 0.75) -> Reply:
    """One answer."""
    text = f'"predictions":["{label}"],"probabilities":[{{"no":{1 - share!r},"yes":{share!r}}}]'
    return Reply(0, 200, 1, share, share * share, b"\x0f", text.encode())


class Writer:
    """A log that is written in a test: each `flush` is a block, `close` ends the segment."""

    def __init__(self, folder: Path, settings: LogSettings | None = None, clock: Clock = system_clock) -> None:
        self.folder = folder
        self.log = PredictionLog(folder / LOG, settings or LogSettings(), clock)

    def add(
        self, months: float = 3, place: Part = STABLE, way: int = ASSIGNED, reply: Reply | None = None, **more: Any
    ) -> str:
        """A prediction's id."""
        values = {"signature": CLASSES, "asked": asked(months), "reply": reply or said(), "seconds": 0.004, "key": None}
        return id_text(self.log.add(place, way=way, **{**values, **more}))

    def fill(self, count: int, blocks: int = 1) -> list[str]:
        """Some predictions in each of some blocks."""
        ids = []
        for block in range(blocks):
            ids += [self.add(block * count + number) for number in range(count)]
            self.flush()
        return ids

    def flush(self) -> None:
        """Write what waits."""
        asyncio.run(self.log.flush())

    def close(self) -> None:
        """Write what waits and end the segments."""
        self.log.close()


def read(folder: Path, **limits: Any) -> list[Prediction]:
    """All of the model's log."""
    return list(read_log(folder, "churn", **limits))


def files(folder: Path) -> Sequence[Path]:
    """What lies in the model's log."""
    return sorted(path for path in (folder / LOG / "churn").iterdir() if path.name != ".lock")
