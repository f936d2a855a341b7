"""Write what a page shows to a customer who has booked."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from pool.embeds import encoding
from pool.model.links import Booked
from pool.model.times import from_ms

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def booked_block(booked: Booked | None) -> str:
    """Return the block that says that the customer has booked, when, and where to change it.

    Times are in the booking's time zone, or in UTC where it is not known. ASCII, on one line.
    """
    when = "" if booked is None or booked.starts_at_ms is None else _when(booked)
    if booked is not None and booked.state == "pending":
        sentence = f"Your booking{when} waits for approval."
    else:
        sentence = f"You are booked{when}."
    url = encoding.web_address(booked.manage_url) if booked is not None else None
    manage = (
        f'<p><a href="{encoding.attribute(url)}" rel="nofollow">Manage your booking</a></p>'
        if url
        else ""
    )
    block = f'<div class="linkpool-booked"><p>{sentence}</p>{manage}</div>'
    return block.encode("ascii", "xmlcharrefreplace").decode()


def _when(booked: Booked) -> str:
    try:
        at = from_ms(booked.starts_at_ms or 0)
        zone, name = _zone(booked.time_zone)
        local = at.astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return ""  # a time that no calendar has
    day = f"{_DAYS[local.weekday()]}, {local.day} {_MONTHS[local.month - 1]} {local.year}"
    words = f"{day} at {local:%H:%M} ({name})"
    return f' for <time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{encoding.text(words)}</time>'


def _zone(name: str | None) -> tuple[tzinfo, str]:
    """Return a time zone and its name; UTC for one that this machine does not know."""
    if name:
        try:
            return ZoneInfo(name), name
        except (LookupError, ValueError, OSError):
            pass
    return UTC, "UTC"
