"""Convert between Redis's times, milliseconds since 1970, and Python's."""

from __future__ import annotations

from datetime import UTC, datetime


def from_ms(milliseconds: int) -> datetime:
    """Return an aware UTC time from milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_ms(at: datetime) -> int:
    """Return the milliseconds since 1970 of an aware time."""
    return round(at.timestamp() * 1000)
