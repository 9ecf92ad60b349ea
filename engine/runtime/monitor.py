"""Monitoring acts here: cut the live release's log into windows, judge each that closed, and keep what was found.

`Monitor.look` is one bounded pass and may be repeated or killed anywhere: a window that was judged is in the store,
one that was not is cut alike by whoever looks next. Two that look at once judge the same rows; the first report stays.
Reports are updated while labels come and are final after the spec's delay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from engine.core.canonical import utc
from engine.core.monitoring import Settings, Window, WindowReport, cut, moment
from engine.core.verdict import Verdict
from engine.failpoints import failpoint
from engine.ports import DriftDetector, LoggedPrediction, MonitoringStore, PredictionReader, ReferenceStore
from engine.runtime.reference import Reference
from engine.runtime.window_drift import Against, asks_for, columns_of
from engine.runtime.window_report import is_final, report_of

if TYPE_CHECKING:
    from engine.stats.drift.adwin import Chunk

SETTLED = timedelta(seconds=5)  # what was answered before is in the log
MOST_WINDOWS = 20  # judged in one pass
MOST_PENDING = 100  # windows that labels are waited for without a time
MOST_EARLIER = 50  # windows whose errors ADWIN looks at
_GROWN = 0.05  # of a window's rows must have got a label before its performance is worked out again


@dataclass(frozen=True)
class Looked:
    """What a pass did. `open`: the window that is not closed yet, if there is one; `more`: others wait to be judged."""

    judged: tuple[WindowReport, ...]
    updated: tuple[WindowReport, ...]
    open: Window | None
    more: bool = False


class Store(MonitoringStore, ReferenceStore, Protocol):
    """Keeps both."""


class Monitor:
    """Over a log and a store. `reference_of(model, version)` may take seconds when it is asked first."""

    def __init__(
        self,
        log: PredictionReader,
        store: Store,
        reference_of: Callable[[str, int], Reference],
        clock: Callable[[], datetime],
        detect: DriftDetector,
    ) -> None:
        self._log = log
        self._store = store
        self._reference_of = reference_of
        self._clock = clock
        self._detect = detect

    def look(self, model: str, version: int, settings: Settings) -> Looked:
        """Judge what closed of `version`, the stable release, and take labels in of all that is pending."""
        updated = self._update(model, settings)
        judged: list[WindowReport] = []
        opened: Window | None = None
        more = False
        last = next(iter(self._store.reports(model, version, 1)), None)
        number = last.window.number + 1 if last is not None else 1
        before = last or next(iter(self._store.reports(model, limit=1)), None)  # what others answered is not read again
        rows = self._log.served(model, version, before.window.last if before is not None else "")
        for window, held, closed in cut(rows, number, settings.rows, settings.duration, self._clock() - SETTLED):
            if not closed:
                opened = window
            elif len(judged) == MOST_WINDOWS:
                more = True
                break
            else:
                report = self._judge(model, version, window, held, settings)
                if report is None:
                    more = True  # somebody else judges here: look again
                    break
                judged.append(report)
        if judged:
            self._store.trim(model, settings.keep)
        return Looked(tuple(judged), tuple(updated), opened, more)

    def _judge(
        self, model: str, version: int, window: Window, rows: Sequence[LoggedPrediction], settings: Settings
    ) -> WindowReport | None:
        reference = self._reference_of(model, version)
        told = self._log.labels(model, window.first, window.last)
        against = self._against(model, version, window.number, settings)
        report = report_of(model, version, window, rows, reference, settings, self._clock(), against)
        report = replace(report, told=told)
        failpoint("monitor.add")
        if not self._store.add(report):
            return None
        if asks_for(settings, "reference", "production") and against.production is None:
            self._refer(report, rows, reference, settings)
        return report

    def _against(self, model: str, version: int, number: int, settings: Settings) -> Against:
        """The release's own reference, and the errors before this window, where a trigger asks for them."""
        from engine.stats.drift import Profile

        production = None
        errors: tuple[Chunk, ...] = ()
        if asks_for(settings, "reference", "production"):
            found = self._store.production_reference(model, version)
            production = None if found is None else (found[0], Profile.from_bytes(found[1]))
        if asks_for(settings, "detector", "adwin"):
            earlier = [
                each for each in self._store.reports(model, version, MOST_EARLIER) if each.window.number < number
            ]
            errors = tuple(chunk for each in reversed(earlier) for chunk in each.errors)
        return Against(self._detect, production, errors)

    def _refer(
        self, report: WindowReport, rows: Sequence[LoggedPrediction], reference: Reference, settings: Settings
    ) -> None:
        """Make a window the release's reference if it breached no limit and has enough rows."""
        from engine.stats.drift import profile_of

        answered = [row for row in rows if row.prediction is not None]
        needed = max(block["min_rows"] for block in settings.drift if block["reference"] == "production")
        if len(answered) >= needed and not _failed(report):
            profile = profile_of(columns_of(answered, reference), origin="production")
            self._store.keep_reference(report.model, report.version, report.window.number, profile.to_bytes())

    def _update(self, model: str, settings: Settings) -> list[WindowReport]:
        updated = []
        pending = self._store.pending(model)
        for place, report in enumerate(pending):
            old = settings.delay is None and place < len(pending) - MOST_PENDING
            told = self._log.labels(model, report.window.first, report.window.last)
            if not (old or self._is_due(report, told, settings)):
                continue
            after = replace(self._again(report, settings), told=told)
            failpoint("monitor.update")
            self._store.update(replace(after, final=True) if old else after)
            if _failed(after) and not _failed(report):  # it turned out to be no good window
                self._store.drop_reference(model, report.version, report.window.number)
            updated.append(after)
        return updated

    def _is_due(self, report: WindowReport, told: int, settings: Settings) -> bool:
        """Whether there are enough new labels, or all, or no others are waited for."""
        window, answered = report.window, report.window.rows - report.failed
        if is_final(window, 0, answered, settings, self._clock()):
            return True
        whole = told >= answered
        reached = report.labelled < settings.min_labels <= told
        grown = told - report.told >= _GROWN * window.rows
        return told > report.told and (whole or reached or grown)

    def _again(self, report: WindowReport, settings: Settings) -> WindowReport:
        """The report with the labels of now. Where the log has lost rows of it since, it stays as it was."""
        window, model, version = report.window, report.model, report.version
        rows = self._log.between(model, version, window.first, window.last)
        now = self._clock()
        if len(rows) < window.rows:
            return replace(report, final=True, judged_at=utc(now))
        reference = self._reference_of(model, version)
        against = self._against(model, version, window.number, settings)
        return report_of(model, version, window, rows, reference, settings, now, against, before=report)


def _failed(report: WindowReport) -> bool:
    return any(check.verdict is Verdict.FAIL for check in report.checks)


def closes_in(looked: Looked, settings: Settings, now: datetime) -> float | None:
    """Seconds until the open window has all its rows, if as many come as came since it began; None if nobody knows."""
    if looked.open is None or settings.rows is None:
        return None
    lasted = (now - moment(looked.open.since)).total_seconds()
    return max(0.0, lasted * (settings.rows - looked.open.rows) / looked.open.rows)


def next_look(looked: Looked, settings: Settings, now: datetime) -> float | None:
    """Seconds until looking again can be of use; None where that depends on what happens."""
    if looked.more:
        return 0.0
    if looked.open is None or settings.duration is None:
        return None
    since = moment(looked.open.since).timestamp()
    end = (since // settings.duration + 1) * settings.duration
    return max(0.0, end + SETTLED.total_seconds() - now.timestamp())
