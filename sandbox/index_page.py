"""Write the page at `/`: everything that exists, and how it behaves."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from sandbox.pages import moment, page, table
from sandbox.records import Booking, Link


def index_page(
    *,
    subdomain: str,
    webhook_url: str,
    meetings: Iterable[tuple[str, str, str, int]],
    links: Iterable[tuple[Link, bool]],
    bookings: Iterable[tuple[Booking, str]],
    deliveries: Iterable[tuple[str, str, str, str]],
    knobs: Iterable[tuple[str, str, bool]],
) -> str:
    """Return the page at `/`: all that exists and how it behaves. Rows are given as they are shown.

    A meeting is (sid, name, what it makes, links made); a delivery (event, booking, state,
    last answer); a link comes with whether its meeting is available, a knob is (name, value,
    whether it was turned).
    """
    tables = [
        table(
            "Meetings",
            ("SID", "Name", "Makes", "Made since start"),
            [map(str, row) for row in meetings],
        ),
        table(
            "Links made last",
            ("Slug", "Meeting", "State"),
            [
                (link.slug, link.meeting_sid, _link_state(link, available=available))
                for link, available in links
            ],
            link_to="/",
        ),
        table(
            "Bookings made last",
            ("Booking", "Name", "Meeting", "When", "Status"),
            [(b.sid, b.name, meeting, moment(b.starts_at), b.status) for b, meeting in bookings],
            link_to="/bookings/",
        ),
        table("Webhook deliveries", ("Event", "Booking", "State", "Last answer"), deliveries),
        table(
            "Knobs",
            ("Name", "Value", ""),
            [(name, value, "turned" if turned else "") for name, value, turned in knobs],
        ),
    ]
    return page(
        "NeetoCal sandbox",
        f'<div class="card"><h1>NeetoCal sandbox</h1>'
        "<p>A local stand-in for NeetoCal: it makes one-off links, shows their booking pages and "
        "sends signed webhooks. Open an unused link and book.</p>"
        f'<p class="soft">Account {escape(subdomain)}. Webhooks go to {escape(webhook_url)}. '
        "State and knobs as JSON: <a href='/_control/state'>/_control/state</a>; knobs are "
        f"turned with <code>PATCH /_control/knobs</code>.</p></div>{''.join(tables)}",
        wide=True,
    )


def _link_state(link: Link, *, available: bool) -> str:
    if link.booking_sid is not None:
        return "expired"
    return "unused" if available else "not available"
