"""Dates as they come in JSON → microseconds since 1970 (UTC), by the formats that training takes for dates."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime

MICROSECONDS = 1_000_000

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(?:Z|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
_SLASHES = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2})")
_DOTS = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})")


def microseconds(text: str) -> int:
    """`2024-01-31`, `2024-01-31T12:00:00.5+01:00`, `2024/01/31` or `31.01.2024`; what is finer is cut off.

    Raises ValueError for any other text, TypeError for what is no text.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        return _day(text) * MICROSECONDS
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = found.groups()
    moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    whole = timegm(moment.timetuple())
    if sign:
        offset = _offset(int(off_hours), int(off_minutes))
        whole -= offset if sign == "+" else -offset
    return whole * MICROSECONDS + int((fraction or "0")[:6].ljust(6, "0"))


def _day(text: str) -> int:
    if found := _SLASHES.fullmatch(text):
        year, month, day = found.groups()
    elif found := _DOTS.fullmatch(text):
        day, month, year = found.groups()
    else:
        raise ValueError(f"{text!r} is not a date")
    return timegm(datetime(int(year), int(month), int(day)).timetuple())


def _offset(hours: int, minutes: int) -> int:
    if hours > 23 or minutes > 59:
        raise ValueError(f"an offset of {hours}:{minutes} is none")
    return hours * 3600 + minutes * 60
