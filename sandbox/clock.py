"""Times: how they are written, and which ones can be booked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """As the API writes times; text order is time order."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def slots(now: datetime) -> list[str]:
    """The times one can book: three a day on the next three days."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        iso(midnight + timedelta(days=day, hours=hour, minutes=minute))
        for day in (1, 2, 3)
        for hour, minute in ((10, 0), (13, 30), (16, 0))
    ]
