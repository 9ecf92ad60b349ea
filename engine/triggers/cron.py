"""Cron expressions: five fields, checked with texts for people. Pure; imports no cron library.

`parse_cron` says what is wrong with an expression, and refuses one that can never fire.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_NAMES: tuple[dict[str, int], ...] = ({}, {}, {}, _MONTHS, _DAYS)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST_EXPRESSION = 500
_EXAMPLE = 'Write minute, hour, day, month and weekday, like "0 0 * * 0".'


class CronError(ValueError):
    """Not an acceptable cron expression; `remedy` says how to mend it."""

    def __init__(self, message: str, remedy: str = _EXAMPLE) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Cron:
    """A checked expression, as plain numbers. `rhythmic`: minute or hour begins with `*`.

    `either_day`: neither day of month nor weekday begins with `*`, so that either is enough; else both have to hold.
    """

    expression: str
    rhythmic: bool
    either_day: bool


def parse_cron(text: str) -> Cron:
    """Check an expression; raises CronError."""
    if text.strip() in _MACROS:
        raise CronError(f'"{text}" is not five fields', f'Write "{_MACROS[text.strip()]}".')
    if len(text) > _LONGEST_EXPRESSION:
        raise CronError(f"a cron expression of {len(text)} characters", f"Write at most {_LONGEST_EXPRESSION}.")
    fields = text.split()
    if len(fields) != 5:
        raise CronError(f'"{text}" has {len(fields)} fields, not five', _EXAMPLE)
    values = [_values(field, index) for index, field in enumerate(fields)]
    either_day = not fields[2].startswith("*") and not fields[4].startswith("*")  # cron(5): by its first character
    if not either_day and not any(day <= _LONGEST[month - 1] for month in values[3] for day in values[2]):
        raise CronError(f'"{text}" never fires: no such month has such a day', "Choose a day that exists.")
    return Cron(
        _plain(values, either_day),
        fields[0].startswith("*") or fields[1].startswith("*"),
        either_day,
    )


def _plain(values: list[set[int]], either_day: bool) -> str:
    """The expression as plain numbers: the library takes `1-1` of a weekday for every day."""
    numbers = [*values[:4], {value % 7 for value in values[4]}]
    sizes = (60, 24, 31, 12, 7)
    texts = [
        "*" if len(found) == size else ",".join(map(str, sorted(found)))
        for found, size in zip(numbers, sizes, strict=True)
    ]
    if either_day and "*" in (texts[2], texts[4]):
        texts[2] = texts[4] = "*"  # every day is one of either
    return " ".join(texts)


def _values(field: str, index: int) -> set[int]:
    return {value for part in field.split(",") for value in _part(part, index)}


def _part(part: str, index: int) -> range:
    low, high = _RANGES[index]
    span, slash, step_text = part.partition("/")
    if slash and not (step_text.isascii() and step_text.isdigit() and 1 <= int(step_text[:4]) <= high):
        raise CronError(f'the step "{step_text}" of the {_FIELDS[index]} is not 1 to {high}')
    step = int(step_text) if slash else 1
    if span == "*":
        return range(low, high + 1, step)
    first_text, dash, last_text = span.partition("-")
    first = _value(first_text, index)
    if not dash:
        if slash:
            raise CronError(f'"{part}" steps from a single {_FIELDS[index]}', f'Write "{first}-{high}/{step}".')
        return range(first, first + 1)
    last = _value(last_text, index)
    if last < first:
        raise CronError(
            f'the range "{span}" of the {_FIELDS[index]} runs backwards', f'Write "{first}-{high},{low}-{last}".'
        )
    return range(first, last + 1, step)


def _value(text: str, index: int) -> int:
    low, high = _RANGES[index]
    if text.lower() in _NAMES[index]:
        return _NAMES[index][text.lower()]
    if text.isascii() and text.isdigit() and low <= int(text[:4]) <= high:
        return int(text)
    raise CronError(f'"{text}" is not a {_FIELDS[index]}: {low} to {high}')
