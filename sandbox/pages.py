"""The pages a person sees. Everything that is not written here is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import groupby

from sandbox.state import Booking, Link

STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5c6877;--page:#f3f5f8;--card:#fff;
--line:#d8dee6;--tint:#0b6e5f;--on-tint:#fff;--wash:#e5f3f0}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf3;--soft:#9aa7b6;--page:#11161c;
--card:#1a2129;--line:#323d49;--tint:#5fd0bb;--on-tint:#06231e;--wash:#17322e}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:44rem;margin:0 auto;padding:2rem 1rem 3rem}
main.wide{max-width:68rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.5rem;
margin-bottom:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.05rem;margin:0 0 .75rem}
p{margin:.25rem 0 .75rem}.card p:last-child{margin-bottom:0}
.soft{color:var(--soft)}.note{color:var(--soft);font-size:.85rem}
label.text{display:block;font-weight:600;margin:1rem 0 .25rem}
input[type=text],input[type=email]{width:100%;font:inherit;color:inherit;background:var(--page);
border:1px solid var(--line);border-radius:8px;padding:.6rem .75rem}
fieldset{border:0;padding:0;margin:1.25rem 0}legend{font-weight:600;padding:0}
.day{display:grid;grid-template-columns:8rem repeat(3,1fr);gap:.5rem;align-items:center;
margin-top:.5rem}
.slot{position:relative}.slot input{position:absolute;opacity:0;inset:0;margin:0;width:100%;
height:100%;cursor:pointer}
.slot span{display:block;text-align:center;border:1px solid var(--line);border-radius:8px;
padding:.5rem .25rem;font-variant-numeric:tabular-nums}
.slot input:checked+span{background:var(--tint);color:var(--on-tint);border-color:var(--tint)}
.slot input:focus-visible+span,button:focus-visible,input:focus-visible,a:focus-visible{
outline:3px solid var(--tint);outline-offset:2px}
button{font:inherit;font-weight:600;border-radius:8px;border:1px solid var(--tint);
padding:.6rem 1.25rem;cursor:pointer;background:var(--tint);color:var(--on-tint)}
button.plain{background:transparent;color:var(--tint)}
.row{display:flex;flex-wrap:wrap;gap:.75rem}.row form{margin:0}
.told{background:var(--wash);border-radius:8px;padding:.6rem .75rem}
a{color:var(--tint)}dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0 0 1rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);
vertical-align:top}th{color:var(--soft);font-weight:600;white-space:nowrap}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
@media(max-width:480px){main{padding:1rem .75rem 2rem}.card{padding:1.1rem}
.day{grid-template-columns:repeat(3,1fr)}.day b{grid-column:1/-1}}
"""
# The one style is allowed by its hash; no script runs. Framing is allowed: sites embed the page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'self'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)


def booking_form(
    slug: str,
    meeting_name: str,
    times: Sequence[str],
    *,
    name: str,
    email: str,
    answers: Mapping[str, str],
    told: str = "",
) -> str:
    """The page of an unused link: name, e-mail, a time, and what the query prefilled."""
    days = []
    for day, at_day in groupby(times, key=lambda moment: moment[:10]):
        radios = "".join(
            f'<label class="slot"><input type="radio" name="starts_at" value="{escape(moment)}" '
            f"required{' checked' if moment == times[0] else ''}>"
            f"<span>{escape(moment[11:16])}</span></label>"
            for moment in at_day
        )
        days.append(f'<div class="day"><b>{escape(_day(day))}</b>{radios}</div>')
    hidden = "".join(
        f'<input type="hidden" name="answer.{escape(code)}" value="{escape(value)}">'
        for code, value in answers.items()
    )
    return _page(
        f"Book {meeting_name}",
        f'<div class="card"><h1>{escape(meeting_name)}</h1>'
        '<p class="soft">30 minutes. Times are UTC.</p>'
        + (f'<p class="told" role="alert">{escape(told)}</p>' if told else "")
        + f'<form method="post" action="/{escape(slug)}">'
        '<label class="text" for="name">Name</label>'
        f'<input type="text" id="name" name="name" value="{escape(name)}" required '
        'maxlength="200" autocomplete="name">'
        '<label class="text" for="email">E-mail</label>'
        f'<input type="email" id="email" name="email" value="{escape(email)}" required '
        'maxlength="200" autocomplete="email">'
        f"<fieldset><legend>Pick a time</legend>{''.join(days)}</fieldset>"
        f'{hidden}<button type="submit">Book</button></form></div>'
        '<p class="note">A local stand-in for NeetoCal. Nothing is put into a real calendar. '
        f"This is the one-off link <code>{escape(slug)}</code>: it books once.</p>",
    )


def booked(booking: Booking, meeting_name: str) -> str:
    """The page of a booking, with its buttons while it stands."""
    cancelled = booking.status == "cancelled"
    head = "This booking is cancelled" if cancelled else "You are booked"
    here = f"/bookings/{escape(booking.sid)}"
    buttons = (
        ""
        if cancelled
        else '<div class="row">'
        f'<form method="post" action="{here}/reschedule">'
        '<button type="submit">Reschedule by a day</button></form>'
        f'<form method="post" action="{here}/cancel">'
        '<button class="plain" type="submit">Cancel</button></form></div>'
    )
    answers = "".join(
        f"<dt>{escape(code)}</dt><dd>{escape(value)}</dd>"
        for code, value in booking.answers.items()
    )
    return _page(
        head,
        f'<div class="card"><h1>{head}</h1><p class="soft">{escape(meeting_name)}</p><dl>'
        f"<dt>When</dt><dd>{escape(_moment(booking.starts_at))}</dd>"
        f"<dt>Name</dt><dd>{escape(booking.name)}</dd>"
        f"<dt>E-mail</dt><dd>{escape(booking.email)}</dd>{answers}"
        f"<dt>Booking</dt><dd><code>{escape(booking.sid)}</code></dd></dl>{buttons}</div>",
    )


def expired(meeting_name: str) -> str:
    """The page of a link that was used."""
    return message(
        "Link expired",
        f"This link expired when it was used to book {meeting_name}. "
        "A one-off link books one meeting; ask for a new one.",
    )


def message(head: str, text: str) -> str:
    """A page that only says something."""
    return _page(head, f'<div class="card"><h1>{escape(head)}</h1><p>{escape(text)}</p></div>')


def index(
    *,
    subdomain: str,
    webhook_url: str,
    meetings: Iterable[tuple[str, str, int]],
    links: Iterable[Link],
    bookings: Iterable[tuple[Booking, str]],
    deliveries: Iterable[tuple[str, str, str, str]],
    knobs: Iterable[tuple[str, str, bool]],
) -> str:
    """What stands at `/`: all that exists and how it behaves. Rows come as they are shown.

    A meeting is (sid, name, links made); a delivery (event, booking, state, last answer); a
    knob (name, value, whether it was turned).
    """
    tables = [
        _table(
            "Meetings",
            ("SID", "Name", "Made since start"),
            [map(str, row) for row in meetings],
        ),
        _table(
            "Links made last",
            ("Slug", "Meeting", "State"),
            [
                (link.slug, link.meeting_sid, "expired" if link.booking_sid else "unused")
                for link in links
            ],
            link_to="/",
        ),
        _table(
            "Bookings made last",
            ("Booking", "Name", "Meeting", "When", "Status"),
            [(b.sid, b.name, meeting, _moment(b.starts_at), b.status) for b, meeting in bookings],
            link_to="/bookings/",
        ),
        _table("Webhook deliveries", ("Event", "Booking", "State", "Last answer"), deliveries),
        _table(
            "Knobs",
            ("Name", "Value", ""),
            [(name, value, "turned" if turned else "") for name, value, turned in knobs],
        ),
    ]
    return _page(
        "NeetoCal sandbox",
        f'<div class="card"><h1>NeetoCal sandbox</h1>'
        "<p>A local stand-in for NeetoCal: it makes one-off links, shows their booking pages and "
        "sends signed webhooks. Open an unused link and book.</p>"
        f'<p class="soft">Account {escape(subdomain)}. Webhooks go to {escape(webhook_url)}. '
        "State and knobs as JSON: <a href='/_control/state'>/_control/state</a>; knobs are "
        f"turned with <code>PATCH /_control/knobs</code>.</p></div>{''.join(tables)}",
        wide=True,
    )


def _table(
    head: str, columns: Sequence[str], rows: Iterable[Iterable[str]], link_to: str | None = None
) -> str:
    lines = []
    for row in rows:
        cells = [escape(cell) for cell in row]
        if link_to is not None:
            cells[0] = f'<a href="{link_to}{cells[0]}"><code>{cells[0]}</code></a>'
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    body = (
        f"<div class='scroll'><table><tr>{''.join(f'<th>{escape(c)}</th>' for c in columns)}</tr>"
        f"{''.join(lines)}</table></div>"
        if lines
        else '<p class="soft">None yet.</p>'
    )
    return f'<div class="card"><h2>{escape(head)}</h2>{body}</div>'


def _page(title: str, body: str, *, wide: bool = False) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main{' class=wide' if wide else ''}>{body}</main></body></html>"
    )


def _day(date: str) -> str:
    return datetime.fromisoformat(date).strftime("%a %d %b")


def _moment(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%a %d %b %Y, %H:%M UTC")
