"""The types of a spec's fields, shared by every block: how each is read, and how it looks in the JSON Schema.

A value is read into the form that the resolved document has: fractions, seconds, bytes, canonical metric names,
argument lists. A value that is not acceptable raises `mistake(what, remedy)`, a pydantic error with a remedy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    Tag,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from engine.spec import commands, metrics, units


def mistake(message: str, remedy: str) -> PydanticCustomError:
    """What a validator raises: what is wrong, and how to mend it."""
    return PydanticCustomError("spec", "{message}", {"message": message, "remedy": remedy})


class Block(BaseModel):
    """The base of every block of a spec: immutable, no unknown keys, no guessing at types.

    The docstring under a field is its description; `engine.spec.descriptions` reads it when somebody wants to know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    supported: ClassVar[bool] = True  # False: parsed and checked, then refused as not supported yet
    not_yet: ClassVar[frozenset[str]] = frozenset()  # fields that are refused as not supported yet

    def warnings(self) -> Sequence[tuple[str, str, str]]:
        """What is allowed but probably not meant: (field, message, remedy)."""
        return ()


def empty_list() -> list[Any]:
    """A new list, as the default of a field: of `list` itself pydantic would parse the signature, which takes 8 ms."""
    return []


def show(value: object) -> str:
    """A value as it would stand in YAML, short enough for a message."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# ── numbers with units ───────────────────────────────────────────────────────────────────────────────────────


def _fraction(low: float, high: float, *, open_low: bool, open_high: bool) -> Callable[[Any], float]:
    between = (
        f"{'more than' if open_low else 'at least'} {low:.0%} and {'less than' if open_high else 'at most'} {high:.0%}"
    )

    def read(value: Any) -> float:
        if isinstance(value, str):
            try:
                number = units.parse_fraction(value)
            except ValueError:
                raise mistake(f"{show(value)} is not a percentage", "Write it like 10% or 0.1.") from None
        elif _is_number(value):
            number = float(value)
        else:
            raise mistake(f"{show(value)} is not a percentage", "Write it like 10% or 0.1.")
        if number < low or number > high or (open_low and number == low) or (open_high and number == high):
            hint = f"Write {value:g}% for {value:g} percent." if _is_number(value) and 1 < value <= 100 else ""
            raise mistake(f"{show(value)} is not {between}", hint or "Write it like 10% or 0.1.")
        return number

    return read


def _fraction_schema(**bounds: float) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [{"type": "number", **bounds}, {"type": "string", "pattern": units.PERCENT_PATTERN}],
            "examples": ["10%", 0.1],
        }
    )


Fraction: TypeAlias = Annotated[
    float,
    PlainValidator(_fraction(0, 1, open_low=False, open_high=False)),
    _fraction_schema(minimum=0, maximum=1),
]
"""0 to 1, both included; written `10%` or `0.1`."""

Share: TypeAlias = Annotated[
    float,
    PlainValidator(_fraction(0, 1, open_low=True, open_high=True)),
    _fraction_schema(exclusiveMinimum=0, exclusiveMaximum=1),
]
"""Strictly between 0 and 1."""

PositiveFraction: TypeAlias = Annotated[
    float,
    PlainValidator(_fraction(0, 1, open_low=True, open_high=False)),
    _fraction_schema(exclusiveMinimum=0, maximum=1),
]
"""More than 0, at most 1."""


def _limit(value: Any) -> float:
    if isinstance(value, str):
        try:
            return units.parse_fraction(value)
        except ValueError:
            raise mistake(f"{show(value)} is not a number", "Write it like 0.85 or 85%.") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise mistake(f"{show(value)} is not a finite number", "Write it like 0.85 or 85%.")
    return float(value)


Limit: TypeAlias = Annotated[
    float,
    PlainValidator(_limit),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": units.PERCENT_PATTERN}], "examples": [0.85, "85%"]}
    ),
]
"""A value that a metric is held against, in the metric's own unit; a share may be written `85%`."""


def check_limit(metric: str, field: str, limit: float) -> None:
    """Raise a mistake for a limit that the metric can never be near."""
    known = metrics.METRICS[metric]
    if not known.contains(limit):
        meant = f"Did you mean {limit:g}%?" if known.high == 1 and 1 < limit <= 100 else f"Write {known.range_text}."
        raise mistake(f"{field} {limit:g} is outside the range of {metric} ({known.range_text})", meant)


def read_seconds(value: Any) -> int | float:
    """A duration as it is written, in seconds; raises a mistake for what is none."""
    remedy = "Write it like 10m, 1h30m or 7d, or as a number of seconds."
    if isinstance(value, str):
        try:
            seconds = units.parse_duration(value)
        except ValueError:
            raise mistake(f"{show(value)} is not a duration", remedy) from None
    elif _is_number(value):
        seconds = int(value) if float(value).is_integer() else float(value)
    else:
        raise mistake(f"{show(value)} is not a duration", remedy)
    if not 0 < seconds <= 10 * 366 * 86400:
        raise mistake(f"{show(value)} is out of range for a duration", "Write more than 0 and at most ten years.")
    return seconds


def _bytes(value: Any) -> int:
    remedy = "Write it like 512MiB or 4GiB, or as a number of bytes."
    if isinstance(value, str):
        try:
            size = units.parse_size(value)
        except ValueError:
            raise mistake(f"{show(value)} is not a size", remedy) from None
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise mistake(f"{show(value)} is not a size", remedy)
    if not 0 < size < 2**60:
        raise mistake(f"{show(value)} is out of range for a size", remedy)
    return size


Seconds: TypeAlias = Annotated[
    float,
    PlainValidator(read_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": units.DURATION_PATTERN},
            ],
            "examples": ["10m", "1h30m", "7d"],
        }
    ),
]
"""A duration in seconds; written `10m`, `1h30m`, `7d`."""

Bytes: TypeAlias = Annotated[
    int,
    PlainValidator(_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": units.SIZE_PATTERN},
            ],
            "examples": ["512MiB", "4GiB"],
        }
    ),
]
"""A size in bytes; written `4GiB`."""


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────


def _named(kind: str, pattern: str, rule: str, example: str) -> Any:
    expression = re.compile(pattern)

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise mistake(f"{show(value)} is not {kind}", f"Write text, like {example}.")
        if expression.fullmatch(value):
            return value
        lower = re.sub(r"[^a-z0-9_]+", "_", value.strip().lower()).strip("_")
        meant = f' Did you mean "{lower}"?' if lower != value and expression.fullmatch(lower) else ""
        raise mistake(f"{show(value)} is not {kind}", f"{rule}{meant}")

    schema = {"type": "string", "pattern": f"^{pattern}$", "examples": [example]}
    return Annotated[str, PlainValidator(read), WithJsonSchema(schema)]


ModelName = _named(
    "a model name",
    "[a-z][a-z0-9_-]{0,62}",
    "A name starts with a lower-case letter and has at most 63 lower-case letters, digits, _ and -.",
    "customer_churn",
)
StepName = _named(
    "a step name",
    "[a-z][a-z0-9_-]{0,62}",
    "A name starts with a lower-case letter and has at most 63 lower-case letters, digits, _ and -.",
    "features",
)
Role = _named(
    "a role",
    "[a-z][a-z0-9_]{0,62}",
    "A role starts with a lower-case letter and has at most 63 lower-case letters, digits and _.",
    "table",
)
VariableName = _named(
    "the name of an environment variable",
    "[A-Za-z_][A-Za-z0-9_]{0,127}",
    "Use letters, digits and _, not starting with a digit.",
    "OMP_NUM_THREADS",
)
Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=10_000)]
Column: TypeAlias = Annotated[str, Field(min_length=1, max_length=1_000)]


def _dotted(kind: str, pattern: str, remedy: str) -> Callable[[Any], str]:
    expression = re.compile(pattern)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not expression.fullmatch(value):
            raise mistake(f"{show(value)} is not {kind}", remedy)
        return value

    return read


_FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
Function: TypeAlias = Annotated[
    str,
    PlainValidator(_dotted("a function", _FUNCTION, "Write package.module:function, like training:train.")),
    WithJsonSchema({"type": "string", "pattern": f"^{_FUNCTION}$", "examples": ["package.module:train"]}),
]

ESTIMATOR_PACKAGES = ("sklearn", "xgboost", "lightgbm", "catboost")
_ESTIMATOR = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+"


def _estimator(value: Any) -> str:
    remedy = f"Write auto, or the dotted name of a class of {', '.join(ESTIMATOR_PACKAGES)}."
    if value == "auto":
        return "auto"
    if not isinstance(value, str) or not re.fullmatch(_ESTIMATOR, value):
        raise mistake(f"{show(value)} is not an estimator", remedy)
    package = value.partition(".")[0]
    if package not in ESTIMATOR_PACKAGES:
        near = get_close_matches(package, ESTIMATOR_PACKAGES, n=1)
        meant = f' Did you mean "{near[0]}{value[len(package) :]}"?' if near else " For your own code use function."
        raise mistake(f'estimators of the package "{package}" are not allowed', remedy + meant)
    return value


Estimator: TypeAlias = Annotated[
    str,
    PlainValidator(_estimator),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^(auto|({'|'.join(ESTIMATOR_PACKAGES)})(\.[A-Za-z_]\w*)+)$",
            "examples": ["auto", "sklearn.ensemble.RandomForestClassifier"],
        }
    ),
]


def _metric(value: Any) -> str:
    if isinstance(value, str):
        if name := metrics.canonical_metric(value):
            return name
        near = metrics.closest_metric(value)
        raise mistake(
            f'there is no metric "{value}"',
            f'Did you mean "{near}"?' if near else f"Known metrics: {', '.join(metrics.METRICS)}.",
        )
    raise mistake(f"{show(value)} is not a metric", f"Known metrics: {', '.join(metrics.METRICS)}.")


_METRIC_NAMES = [*metrics.METRICS, *(alias for m in metrics.METRICS.values() for alias in m.aliases)]
MetricName: TypeAlias = Annotated[
    str, PlainValidator(_metric), WithJsonSchema({"type": "string", "enum": _METRIC_NAMES})
]
"""A metric's name in the table, whichever alias was written."""


# ── paths and commands ───────────────────────────────────────────────────────────────────────────────────────


def check_path(value: str) -> str:
    """`value`, if it stays inside the project; raises a mistake otherwise."""
    inside = "Write a path relative to the project's root, with forward slashes."
    if not value or value != value.strip():
        raise mistake(f"{show(value)} is not a path", inside)
    if len(value) > 1_000 or max(map(len, value.split("/"))) > 200:
        raise mistake(f"the path {show(value)} is too long", "Write at most 1,000 characters, 200 for each name.")
    if "\x00" in value or "\n" in value:
        raise mistake("the path contains a NUL or a line break", inside)
    if value.startswith(("/", "~")) or re.match(r"[A-Za-z]:", value):
        raise mistake(f"the path {show(value)} is not inside the project", inside)
    if "\\" in value:
        raise mistake(f"the path {show(value)} has a backslash", inside)
    if ".." in value.split("/"):
        raise mistake(f"the path {show(value)} leads out of the project", inside)
    return value


def _path(value: Any) -> str:
    if not isinstance(value, str):
        raise mistake(f"{show(value)} is not a path", "Write a path relative to the project's root.")
    return check_path(value)


ProjectPath: TypeAlias = Annotated[
    str,
    PlainValidator(_path),
    WithJsonSchema({"type": "string", "pattern": r"^(?![/~])(?!(.*/)?\.\.(/|$))[^\\\n]+$"}),
]
"""A path relative to the project's root that does not leave it."""


def _command(value: Any) -> list[str]:
    try:
        return commands.parse_command(value)
    except commands.CommandError as error:
        raise mistake(str(error), error.remedy) from None


Command: TypeAlias = Annotated[
    list[str],
    PlainValidator(_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
            "examples": ["python train.py --data ${inputs.train} --out ${outputs.model}"],
        }
    ),
]
"""A command as its arguments. Written as one line it is split as a shell would; there is no shell."""


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────────────────

_PASSWORD = re.compile(r"[a-z0-9+.-]+://[^/@\s:]*:(?!\$\{)[^/@\s]+@", re.IGNORECASE)
_HTTP_URL = r"(https?://[^\s/?#][^\s#]*|\$\{(env|file):[^{}]+\}[^\s#]*)"


def has_password(value: str) -> bool:
    """Whether a URL has a password written out in it."""
    return _PASSWORD.match(value) is not None


def check_no_password(value: str) -> str:
    """`value`, unless it is a URL with a password written out."""
    if has_password(value):
        raise mistake("the URL has a password in it", "Keep secrets out of the file: write ${env:NAME} for it.")
    return value


def _http_url(value: Any) -> str:
    remedy = "Write it like https://example.org/hook, or ${env:NAME}."
    if not isinstance(value, str) or not re.fullmatch(_HTTP_URL, value) or len(value) > 2_000 or "\x00" in value:
        raise mistake(f"{show(value)} is not an http or https URL", remedy)
    return check_no_password(value)


HttpUrl: TypeAlias = Annotated[
    str,
    PlainValidator(_http_url),
    WithJsonSchema({"type": "string", "pattern": f"^{_HTTP_URL}$", "examples": ["https://example.org/hook"]}),
]
"""An address that requests are sent to; secrets in it as `${env:NAME}` or `${file:PATH}`."""


# ── small notations ──────────────────────────────────────────────────────────────────────────────────────────

_PERSISTENCE = re.compile(r"([1-9][0-9]?) of ([1-9][0-9]?)")
_BUDGET = re.compile(r"([1-9][0-9]{0,3}) per (hour|day|week|month)")
_PERIODS = {"hour": 3600, "day": 86400, "week": 604800, "month": 30 * 86400}


def _persistence(value: Any) -> dict[str, int]:
    found = _PERSISTENCE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise mistake(f"{show(value)} does not say how many windows of how many", "Write it like 2 of 3.")
    count, windows = int(found[1]), int(found[2])
    if count > windows:
        raise mistake(f"{count} of {windows} windows can never be", f"Write it like {windows} of {count}.")
    return {"count": count, "windows": windows}


def _budget(value: Any) -> dict[str, int]:
    found = _BUDGET.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise mistake(f"{show(value)} is not a budget", "Write it like 3 per week (hour, day, week or month).")
    return {"count": int(found[1]), "period": _PERIODS[found[2]]}


def _clock_time(value: Any) -> str:
    remedy = 'Write hours and minutes, like "22:00".'
    if not isinstance(value, str) or not re.fullmatch(_CLOCK, value):
        raise mistake(f"{show(value)} is not a time of day", remedy)
    return value


def _day(value: Any) -> str:
    remedy = "Write year, month and day, like 2026-12-20."
    if not isinstance(value, str) or not re.fullmatch(_DAY, value):
        raise mistake(f"{show(value)} is not a day", remedy)
    try:
        date.fromisoformat(value)
    except ValueError:
        raise mistake(f"there is no day {value}", remedy) from None
    return value


def _zone_name(value: Any) -> str:
    remedy = "Write a name of the tz database, like Europe/Berlin, or UTC."
    if not isinstance(value, str):
        raise mistake(f"{show(value)} is not a time zone", remedy)
    if value != "UTC":
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):
            raise mistake(f"there is no time zone {show(value)}", remedy) from None
    return value


_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_DAY = "2[0-9]{3}-[01][0-9]-[0-3][0-9]"
ClockTime: TypeAlias = Annotated[
    str,
    PlainValidator(_clock_time),
    WithJsonSchema({"type": "string", "pattern": f"^{_CLOCK}$", "examples": ["22:00"]}),
]
"""A time of day on a wall clock."""

Day: TypeAlias = Annotated[
    str, PlainValidator(_day), WithJsonSchema({"type": "string", "pattern": f"^{_DAY}$", "examples": ["2026-12-20"]})
]
"""A day of the calendar, from the year 2000 on."""

ZoneName: TypeAlias = Annotated[
    str, PlainValidator(_zone_name), WithJsonSchema({"type": "string", "examples": ["Europe/Berlin", "UTC"]})
]
"""A time zone of the tz database."""

Persistence: TypeAlias = Annotated[
    dict[str, int],
    PlainValidator(_persistence),
    WithJsonSchema({"type": "string", "pattern": f"^{_PERSISTENCE.pattern}$", "examples": ["2 of 3"]}),
]
"""`2 of 3` → {count: 2, windows: 3}."""

Budget: TypeAlias = Annotated[
    dict[str, int],
    PlainValidator(_budget),
    WithJsonSchema({"type": "string", "pattern": f"^{_BUDGET.pattern}$", "examples": ["3 per week"]}),
]
"""`3 per week` → {count: 3, period: 604800 seconds}."""


# ── blocks that kinds extend ─────────────────────────────────────────────────────────────────────────────────


class TriggerBlock(Block):
    """The base of a trigger's block. These fields apply to every trigger."""

    cooldown: Seconds | None = None
    """The shortest time between two retrains that this trigger starts."""
    budget: Budget | None = None
    """The most retrains that this trigger may start in a period."""
    force: bool = False
    """Train even when the data is unchanged."""


class Approval(Block):
    """Who has to agree before a release goes live."""

    by: list[Text] = Field(default_factory=empty_list)
    """Whose word counts: names of tokens, or e-mail addresses of those who sign commits. Anybody's if left out."""
    count: Annotated[int, Field(ge=1, le=100)] = 1
    """How many have to agree."""
    expires: Seconds | None = None
    """How long a word counts; for good if left out."""
    independent: bool = False
    """Whether the word of who made the release does not count."""
    hold: Literal["promotion", "traffic"] = "promotion"
    """Before what it must be given: before it is the stable release, or before any traffic."""

    @model_validator(mode="after")
    def _can_be_given(self) -> Approval:
        if len(set(self.by)) != len(self.by):
            raise mistake("by has somebody twice", "Name everybody once.")
        if self.by and self.count > len(self.by):
            raise mistake(f"count is {self.count}, of {len(self.by)} in by", "Name more people, or ask fewer.")
        return self


Approving = Annotated[
    Annotated[Literal["required", "automatic"], Tag("word")] | Annotated[Approval, Tag("terms")],
    Discriminator(lambda value: "terms" if isinstance(value, dict | Approval) else "word"),
]


class StrategyBlock(Block):
    """The base of a deployment strategy's block."""

    approval: Approving = "automatic"
    """Whether people have to agree before a release goes live, and who."""

    says_automatic: ClassVar[bool] = False  # whether the resolved block names what is so anyway

    @model_serializer(mode="wrap")
    def _resolved_block(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        if document["approval"] == "automatic" and not self.says_automatic:
            del document["approval"]  # as it was before every strategy had it
        return document
