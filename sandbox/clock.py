"""Write and read times, and say which ones can be booked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """Return the present time, aware of its time zone."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Return a time as the API writes it; text order is time order."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def slots(now: datetime) -> list[str]:
    """Return the times that can be booked: three a day on the next three days."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        iso(midnight + timedelta(days=day, hours=hour, minutes=minute))
        for day in (1, 2, 3)
        for hour, minute in ((10, 0), (13, 30), (16, 0))
    ]


def parsed(text: str) -> datetime | None:
    """Return the moment that an ISO 8601 text names (UTC without an offset), or None."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def days_later(moment: str, days: int) -> str:
    """Return the moment this number of days later, as `iso` writes it."""
    return iso(datetime.fromisoformat(moment) + timedelta(days=days))
