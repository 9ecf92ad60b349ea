"""What monitoring says of the live release: windows of its predictions, a report of each, and what breaches a limit.

Pure. A release's predictions, in the order of their ids, are cut into windows that do not overlap; where a window
begins is where the one before ended, so that every controller cuts alike and a window is judged once. Moments are UTC
in ISO 8601, latencies and durations seconds, shares fractions 0–1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, Protocol, TypeVar

from engine.core.canonical import Json, utc
from engine.core.verdict import Verdict

FORMAT = 1
DEFAULT_ROWS = 1000
Kind = Literal["metric", "estimate", "kpi", "quality", "service"]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Watch:
    """A limit, what follows when it is breached, and in how many windows of how many it must be."""

    on_breach: str = "alert"
    count: int = 1
    windows: int = 1


@dataclass(frozen=True)
class MetricLimit(Watch):
    """`threshold` is the worst acceptable value; None: the metric is measured only."""

    metric: str = ""
    threshold: float | None = None


@dataclass(frozen=True)
class FigureLimit(Watch):
    """A business figure: an expression over the log's columns, and its limits."""

    name: str = ""
    expression: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class QualityLimits(Watch):
    """Shares of rows; `missing` is beyond the hold-out's own."""

    missing: float = 0.05
    out_of_range: float = 0.05
    unseen: float = 0.05


@dataclass(frozen=True)
class ContractLimits(Watch):
    """A resolved data contract, watched as the quality of features is."""

    contract: Mapping[str, Any] = field(default_factory=dict)
    personal: tuple[str, ...] = ()
    missing: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ServiceLimits(Watch):
    """Of failures, and of the time within which 99 % of rows are answered."""

    error_rate: float | None = None
    latency_p99: float | None = None


@dataclass(frozen=True)
class Settings:
    """How one model is watched. `rows`, `duration`: of a window; `delay`: until labels are known, None: as they come.

    `metrics` are all that are measured, in order; none: the task's usual ones. `drift` are resolved drift triggers.
    """

    rows: int | None = DEFAULT_ROWS
    duration: float | None = None
    delay: float | None = None
    min_labels: int = 500
    metrics: tuple[MetricLimit, ...] = ()
    estimate: bool = True
    figures: tuple[FigureLimit, ...] = ()
    quality: QualityLimits = field(default_factory=QualityLimits)
    service: ServiceLimits = field(default_factory=ServiceLimits)
    drift: tuple[Mapping[str, Any], ...] = ()
    keep: int = 1000
    contract: ContractLimits | None = None


def settings_of(document: Mapping[str, Any]) -> Settings:
    """From a resolved spec. Metrics: those of `monitoring`, then those of gates and performance triggers.

    Without `monitoring.window` a window has as many rows as a drift trigger asks for, else 1,000.
    """
    block = document.get("monitoring") or {}
    triggers = list(leaves(document.get("retrain_trigger")))
    drift = tuple(trigger for trigger in triggers if trigger["type"] == "drift")
    asked = next((trigger["window"] for trigger in drift if trigger.get("window")), None)
    window = block.get("window") or {"rows": asked or DEFAULT_ROWS, "duration": None}
    labels = block.get("labels") or {"delay": None, "min": Settings.min_labels}
    watched = [MetricLimit(*_watch(each), each["metric"], each["threshold"]) for each in block.get("metrics", ())]
    named = [each.get("metric") for each in (*document.get("validation", ()), *triggers)]
    further = dict.fromkeys(name for name in named if name and name not in [each.metric for each in watched])
    figures = tuple(
        FigureLimit(*_watch(each), each["name"], each["value"], each["min"], each["max"])
        for each in block.get("kpis", ())
    )
    return Settings(
        window["rows"],
        window["duration"],
        labels["delay"],
        labels["min"],
        (*watched, *(MetricLimit(metric=name) for name in further)),
        block.get("estimate", True),
        figures,
        _limits(QualityLimits, block.get("quality")),
        _limits(ServiceLimits, block.get("service")),
        drift,
        block.get("keep", Settings.keep),
        _contract(document.get("data") or {}, block.get("quality")),
    )


def _contract(data: Mapping[str, Any], quality: Mapping[str, Any] | None) -> ContractLimits | None:
    if not data.get("expect"):
        return None
    on_breach, count, windows = ("alert", 1, 1) if quality is None else _watch(quality)
    missing = None if data.get("missing") is None else tuple(data["missing"])
    return ContractLimits(on_breach, count, windows, data["expect"], tuple(data.get("personal") or ()), missing)


def leaves(trigger: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """The triggers of a resolved group, and of those nested in it."""
    if trigger is None:
        return
    if "type" in trigger:
        yield trigger
    for member in (*trigger.get("any_of", ()), *trigger.get("all_of", ())):
        yield from leaves(member)


def _watch(block: Mapping[str, Any]) -> tuple[str, int, int]:
    return block["on_breach"], block["persistence"]["count"], block["persistence"]["windows"]


_Limits = TypeVar("_Limits", QualityLimits, ServiceLimits)


def _limits(kind: type[_Limits], block: Mapping[str, Any] | None) -> _Limits:
    if block is None:
        return kind()
    own = {name: value for name, value in block.items() if name not in ("on_breach", "persistence")}
    on_breach, count, windows = _watch(block)
    return kind(on_breach=on_breach, count=count, windows=windows, **own)


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────


class Row(Protocol):
    """What has an id that sorts by time, and a moment."""

    @property
    def id(self) -> str: ...

    @property
    def at(self) -> str: ...


_R = TypeVar("_R", bound=Row)


@dataclass(frozen=True)
class Window:
    """Predictions of one release, from id `first` to id `last`, `number` 1 being the oldest.

    `since` is the moment of its first row; `until` that of its last, or the end of its time.
    """

    number: int
    first: str
    last: str
    since: str
    until: str
    rows: int


def cut(
    rows: Iterable[_R], number: int, size: int | None, duration: float | None, now: datetime
) -> Iterator[tuple[Window, list[_R], bool]]:
    """Cut rows, oldest first, into windows; gives each with its rows and whether it is closed.

    `number` is the first window's. A window is closed when it has `size` rows, or when its time is over, which is the
    multiple of `duration` since 1970 that its first row lies in; the last one may be open. All rows up to `now` must
    be there.
    """
    held: list[_R] = []
    end = ""
    for row in rows:
        if held and end and row.at >= end:
            yield _window(number, held, end), held, True
            number, held = number + 1, []
        if not held:
            end = _end_of(row.at, duration)
        held.append(row)
        if size is not None and len(held) == size:
            yield _window(number, held, held[-1].at), held, True
            number, held = number + 1, []
    if held:
        over = bool(end) and utc(now) >= end
        yield _window(number, held, end if over else held[-1].at), held, over


def _window(number: int, rows: Sequence[Row], until: str) -> Window:
    return Window(number, rows[0].id, rows[-1].id, rows[0].at, until, len(rows))


def _end_of(at: str, duration: float | None) -> str:
    if duration is None:
        return ""
    since = (moment(at) - _EPOCH).total_seconds()
    return utc(_EPOCH + timedelta(seconds=(since // duration + 1) * duration))


def moment(text: str) -> datetime:
    """A recorded moment."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Measure:
    """A value with its 95 % interval, over `rows` rows; `reason` says why there is none, or why it says little."""

    value: float | None
    low: float | None = None
    high: float | None = None
    rows: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Check:
    """A limit held against a window. `text` is one line for people."""

    kind: Kind
    name: str
    verdict: Verdict
    text: str
    value: float | None = None
    limit: float | None = None
    on_breach: str = "alert"
    count: int = 1
    windows: int = 1


@dataclass(frozen=True)
class FeatureQuality:
    """One feature in a window: shares of rows, and of values for the last two.

    `missing_before`: in the hold-out. `examples` are unseen values, the most frequent first.
    """

    kind: str
    missing: float
    missing_before: float
    out_of_range: float | None = None
    unseen: float | None = None
    examples: tuple[str, ...] = ()
    constant: bool = False  # one value only, which was not so before


@dataclass(frozen=True)
class WindowReport:
    """What one closed window says.

    `final`: no label is waited for any more. `drift`: by key of its settings, as `DriftReport.to_json` has it.
    `estimated`: metrics without labels; they warn and prove nothing. `latency`: quantiles by name, of rows.
    `columns`: features that the release knows and no row had, and those that it does not know.
    """

    model: str
    version: int
    window: Window
    judged_at: str
    final: bool
    labelled: int
    failed: int
    per_second: float | None
    latency: Mapping[str, float]
    performance: Mapping[str, Measure]
    estimated: Mapping[str, Measure]
    figures: Mapping[str, Measure]
    features: Mapping[str, FeatureQuality]
    columns: Mapping[str, tuple[str, ...]]
    drift: Mapping[str, Mapping[str, Json]]
    checks: tuple[Check, ...]
    not_estimated: str = ""
    told: int = 0  # labels of the time between its ids when it was judged, those of other releases among them
    errors: tuple[tuple[int, float, float], ...] = ()  # of labelled rows in their order, see `stats.drift.adwin`

    @property
    def coverage(self) -> float:
        """The share of its answered rows whose actual value is known."""
        answered = self.window.rows - self.failed
        return self.labelled / answered if answered else 0.0

    @property
    def error_rate(self) -> float:
        """The share of rows that the release failed."""
        return self.failed / self.window.rows

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format_version": FORMAT, **asdict(self)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> WindowReport:
        """From what `to_json` gave. Raises ValueError for another version of the format."""
        if document.get("format_version") != FORMAT:
            raise ValueError(f"a window's report of format {document.get('format_version')!r} cannot be read")
        own = {name: value for name, value in document.items() if name != "format_version"}
        features = {
            name: FeatureQuality(**{**each, "examples": tuple(each["examples"])})
            for name, each in own["features"].items()
        }
        checks = tuple(Check(**{**each, "verdict": Verdict(each["verdict"])}) for each in own["checks"])
        measures = {
            name: {key: Measure(**each) for key, each in own[name].items()}
            for name in ("performance", "estimated", "figures")
        }
        columns = {name: tuple(names) for name, names in own["columns"].items()}
        rest = {"window": Window(**own["window"]), "features": features, "checks": checks, "columns": columns}
        rest["errors"] = tuple((int(n), total, squares) for n, total, squares in own.get("errors", ()))
        return WindowReport(**{**own, **measures, **rest})


@dataclass(frozen=True)
class Breach:
    """A limit that was breached in enough of the last windows. `windows` are their numbers, newest first."""

    kind: Kind
    name: str
    on_breach: str
    text: str
    windows: tuple[int, ...]


def breaches(reports: Sequence[WindowReport]) -> tuple[Breach, ...]:
    """The limits that are breached now, by the reports of one release, newest first.

    Each as its newest conclusive check asks: `count` failures among its last `windows` conclusive checks. What only
    warns (an estimate) is none.
    """
    said: dict[tuple[Kind, str], list[tuple[int, Check]]] = {}
    for report in reports:
        for check in report.checks:
            if check.kind != "estimate" and check.verdict in (Verdict.PASS, Verdict.FAIL):
                said.setdefault((check.kind, check.name), []).append((report.window.number, check))
    found = []
    for (kind, name), checks in said.items():
        newest = checks[0][1]
        failed = [(number, each) for number, each in checks[: newest.windows] if each.verdict is Verdict.FAIL]
        if len(failed) >= newest.count:
            numbers = tuple(number for number, _ in failed)
            found.append(Breach(kind, name, newest.on_breach, failed[0][1].text, numbers))
    return tuple(found)
