"""Read and write lengths of time as people type them: 45 s, 10 min, 2 h, 30 days."""

from __future__ import annotations

import math
import re

from pool.errors import InvalidRequest

_UNITS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3_600, "hr": 3_600, "hrs": 3_600, "hour": 3_600, "hours": 3_600,
    "d": 86_400, "day": 86_400, "days": 86_400,
    "w": 604_800, "week": 604_800, "weeks": 604_800,
}  # fmt: skip
_PART = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)\s*,?", re.IGNORECASE | re.ASCII)
EXAMPLES = "45 s, 10 min, 2 h or 30 days"


def seconds_of(text: str) -> int:
    """Return a length of time in seconds: 45 s, 1 h 30 min, 1.5 h; a plain number is seconds.

    Raise InvalidRequest if it is none, or no whole number of seconds.
    """
    total, at = 0.0, 0
    parts = []
    while at < len(text.rstrip()):
        found = _PART.match(text, at)
        unit = _UNITS.get(found[2].lower() or "s") if found else None
        if found is None or unit is None:
            raise InvalidRequest(f"“{text}” is no length of time; write {EXAMPLES}")
        total += float(found[1]) * unit
        parts.append(found[2])
        at = found.end()
    if not parts or ("" in parts and len(parts) > 1):  # "1 h 30" may mean anything
        raise InvalidRequest(f"“{text}” is no length of time; write {EXAMPLES}")
    seconds = round(total)
    if abs(total - seconds) > 1e-6:
        raise InvalidRequest(f"“{text}” is no whole number of seconds")
    return seconds


def as_number(given: str | float, unit: str, *, whole: bool = True) -> float:
    """Return how many of these units (seconds, hours, days) a length of time has.

    A plain number is in the unit, and words are as `seconds_of` takes them. Raise InvalidRequest if
    it is none, or if it must be `whole` and is not.
    """
    try:
        number = float(given)
    except ValueError:
        number = seconds_of(str(given)) / _UNITS[unit]
    if not math.isfinite(number):
        raise InvalidRequest(f"“{given}” is no length of time; write {EXAMPLES}")
    if not whole:
        return number
    if number != int(number):
        raise InvalidRequest(f"“{given}” is no whole number of {unit}")
    return int(number)


def exact_words(seconds: int) -> str:
    """Return a length of time in the largest unit that has it whole: 30 days, 90 s, 2 h."""
    for unit, word in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if seconds and seconds % unit == 0:
            count = seconds // unit
            return f"{count} {'days' if word == 'day' and count > 1 else word}"
    return f"{seconds} s"
