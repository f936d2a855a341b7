"""Write numbers and times in words."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def duration_words(seconds: float) -> str:
    """Return a length of time in its largest sensible unit: 59 s, 10 min, 2 h, 10 days."""
    # By what would be shown, so that neither 120 s nor 120 min ever is.
    if round(seconds) < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if round(seconds / _MINUTE) < 2 * _HOUR // _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    hours = seconds / _HOUR
    return f"{hours:.0f} h" if round(hours) < 2 * _DAY // _HOUR else f"{seconds / _DAY:.0f} days"


def runway_words(seconds: float | None) -> str:
    """Return a runway in words. None means that there are no claims."""
    return "no claims" if seconds is None else duration_words(seconds)


def range_words(low_seconds: float | None, high_seconds: float | None) -> str:
    """Return a range of time in words. None stands for more than a day.

    If even the lower end is None, the result is empty.
    """
    if low_seconds is None:
        return ""
    low = duration_words(low_seconds)
    if high_seconds is None:
        return f"at least {low}"
    high = duration_words(high_seconds)
    if low == high:
        return f"about {low}"
    (number, unit), other = low.split(" "), high.split(" ")[1]
    return f"{number if unit == other else low} to {high}"


def rate_words(per_second: float) -> str:
    """Return a rate in the unit that gives a readable number: per second, minute or hour."""
    if per_second <= 0:
        return "0/s"
    if per_second >= 10:
        return f"{per_second:,.0f}/s"
    if per_second >= 0.1:
        return f"{per_second:.1f}/s"
    if per_second * _MINUTE >= 0.1:
        return f"{per_second * _MINUTE:.1f}/min"
    return f"{per_second * _HOUR:.1f}/h"


def count_words(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: 1 link, 1,204 links."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def about(count: int) -> int:
    """Return a count rounded up to two digits, so that a sentence with it seldom changes."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def times_words(count: int) -> str:
    """Return how often something happened: once, twice, 1,204 times."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def at_least_words(count: int, one: str) -> str:
    """Return a growing count in words that change ever more seldom, as what is read aloud needs.

    Up to ten it is exact. Beyond that it is rounded down to its first digit: more than 40 visitors.
    """
    if count <= 10:
        return count_words(count, one)
    step = 10 ** (len(str(count - 1)) - 1)
    return f"more than {(count - 1) // step * step:,} {one}s"


_SCOPES = {
    "claim": "gets links for visitors",
    "read": "sees everything, changes nothing",
    "admin": "does everything",
}


def scope_words(scopes: Collection[str]) -> str:
    """Return what a key with these scopes may do; an admin may do the rest as well."""
    if "admin" in scopes:
        return _SCOPES["admin"]
    return ", and ".join(_SCOPES.get(each, each) for each in sorted(scopes)) or "does nothing"


def moment_words(at: datetime) -> str:
    """Return a time to the second, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock_words(at: datetime) -> str:
    """Return a time of day in UTC, with the date if it is not of today."""
    at, today = at.astimezone(UTC), datetime.now(UTC).date()
    return at.strftime("%H:%M:%S UTC" if at.date() == today else "%-d %b %H:%M UTC")


def ago_words(at: datetime, now: datetime | None = None) -> str:
    """Return how long ago a time was, or how far ahead it is."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    words = duration_words(abs(seconds))
    return f"{words} ago" if seconds > 0 else f"in {words}"
