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


def parsed(text: str) -> datetime | None:
    """Return the moment that an ISO 8601 text names, by UTC if it says no offset; else None."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def days_later(moment: str, days: int) -> str:
    """Return the moment that many days later, as `iso` writes it."""
    return iso(datetime.fromisoformat(moment) + timedelta(days=days))
