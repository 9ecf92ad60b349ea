"""Percentages, durations and sizes: as people write them ↔ as numbers.

`10%` ↔ 0.1, `1h30m` ↔ 5400 seconds, `4GiB` ↔ bytes. Parsing raises ValueError; a formatted number parses back to
the same number.
"""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?)"
PERCENT_PATTERN = rf"^{_NUMBER} ?%$"
DURATION_PATTERN = rf"^(?:{_NUMBER}(?:ms|s|m|h|d|w))+$"
SIZE_PATTERN = rf"^{_NUMBER} ?(?:B|[kKMGT]B|[KMGT]iB)$"

_SECONDS = {
    "w": Decimal(604800),
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_LONGEST = 64  # characters; digits beyond that are no quantity of this world
_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d|w)")


def parse_fraction(text: str) -> float:
    """A percentage as a fraction: `12.5%` → 0.125."""
    if len(text) > _LONGEST or not re.match(PERCENT_PATTERN, text):
        raise ValueError(f'"{text}" is not a percentage')
    return float(Decimal(text.rstrip("%").strip()) / 100)


def parse_duration(text: str) -> int | float:
    """A duration in seconds: `10m` → 600, `1h30m` → 5400, `20ms` → 0.02."""
    if len(text) > _LONGEST or not re.match(DURATION_PATTERN, text):
        raise ValueError(f'"{text}" is not a duration')
    return _number(sum((Decimal(n) * _SECONDS[unit] for n, unit in _PART.findall(text)), Decimal(0)))


def parse_size(text: str) -> int:
    """A size in bytes: `4GiB` → 4294967296."""
    if len(text) > _LONGEST or not re.match(SIZE_PATTERN, text):
        raise ValueError(f'"{text}" is not a size')
    unit = text.lstrip("0123456789. ")
    return int(Decimal(text.removesuffix(unit).strip()) * _BYTES[unit])


def format_fraction(value: float) -> str:
    """A fraction as a percentage: 0.125 → `12.5%`."""
    return f"{_digits(Decimal(repr(float(value))) * 100)}%"


def format_duration(seconds: float) -> str:
    """Seconds in the largest units that fit: 5400 → `1h30m`."""
    rest = Decimal(repr(seconds))
    parts: list[str] = []
    for unit in ("w", "d", "h", "m"):
        count, rest = divmod(rest, _SECONDS[unit])
        if count:
            parts.append(f"{_digits(count)}{unit}")
    if rest and not parts and rest < 1:
        parts.append(f"{_digits(rest * 1000)}ms")
    elif rest or not parts:
        parts.append(f"{_digits(rest)}s")
    return "".join(parts)


def format_size(size: int) -> str:
    """Bytes in the largest unit that divides them: 4294967296 → `4GiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _digits(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
