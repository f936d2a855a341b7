"""Write the pages of a link and of a booking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import groupby

from sandbox.pages import message, moment, page
from sandbox.records import CANCELLED, INCOMPLETE, PENDING, REJECTED, Booking, MeetingKind

_ABOUT: dict[MeetingKind, str] = {
    "plain": "30 minutes.",
    "series": "{} appointments of 30 minutes, one a week.",
    "approval": "30 minutes. The host has to approve.",
    "payment": "30 minutes. To be paid before it is confirmed.",
}
_BUTTON: dict[MeetingKind, str] = {
    "plain": "Book",
    "series": "Book all",
    "approval": "Ask for this time",
    "payment": "Continue to payment",
}
_HEADS = {
    CANCELLED: "This booking is cancelled",
    REJECTED: "The host said no to this booking",
    PENDING: "The host has yet to approve",
    INCOMPLETE: "Not paid yet",
}
_NOTES = {
    PENDING: "The link is used up. The time is kept until the host has decided.",
    INCOMPLETE: "The time is not kept for you until this is paid.",
}


def booking_form(
    slug: str,
    meeting_name: str,
    times: Sequence[str],
    *,
    name: str,
    email: str,
    answers: Mapping[str, str],
    kind: MeetingKind = "plain",
    series_length: int = 1,
    problem: str = "",
) -> str:
    """Return the page of an unused link: name, e-mail, a time, what the query prefilled."""
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
    about = _ABOUT[kind].format(series_length)
    return page(
        f"Book {meeting_name}",
        f'<div class="card"><h1>{escape(meeting_name)}</h1>'
        f'<p class="soft">{escape(about)} Times are UTC.</p>'
        + (f'<p class="notice" role="alert">{escape(problem)}</p>' if problem else "")
        + f'<form method="post" action="/{escape(slug)}">'
        '<label class="text" for="name">Name</label>'
        f'<input type="text" id="name" name="name" value="{escape(name)}" required '
        'maxlength="200" autocomplete="name">'
        '<label class="text" for="email">E-mail</label>'
        f'<input type="email" id="email" name="email" value="{escape(email)}" required '
        'maxlength="200" autocomplete="email">'
        f"<fieldset><legend>Pick a time</legend>{''.join(days)}</fieldset>"
        f'{hidden}<button type="submit">{_BUTTON[kind]}</button></form></div>'
        '<p class="note">A local stand-in for NeetoCal. Nothing is put into a real calendar. '
        f"This is the one-off link <code>{escape(slug)}</code>: it books once.</p>",
    )


def booking_page(
    booking: Booking, meeting_name: str, *, series: Sequence[Booking], others: bool
) -> str:
    """Return the page of a booking, with the buttons of what can be done with it.

    `series` has all bookings of its series, itself included; `others` says whether others stand.
    """
    head = _HEADS.get(booking.status, "You are booked")
    note = _NOTES.get(booking.status, "")
    rows = [
        ("When", moment(booking.starts_at)),
        ("Name", booking.name),
        ("E-mail", booking.email),
        *booking.answers.items(),
        ("Status", booking.status),
        *([("Reason", booking.cancel_reason)] if booking.cancel_reason else []),
    ]
    return page(
        head,
        f'<div class="card"><h1>{escape(head)}</h1><p class="soft">{escape(meeting_name)}</p>'
        + (f'<p class="notice">{escape(note)}</p>' if note else "")
        + "<dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
        + f"<dt>Booking</dt><dd><code>{escape(booking.sid)}</code></dd></dl>"
        + _buttons(booking, _acts(booking, others=others))
        + "</div>"
        + _host(booking)
        + _series(booking, series),
    )


def expired(meeting_name: str) -> str:
    """Return the page of a link that was used."""
    return message(
        "Link expired",
        f"This link expired when it was used to book {meeting_name}. "
        "A one-off link books one meeting; ask for a new one.",
    )


def not_available(meeting_name: str) -> str:
    """Return the page of an unused link whose meeting is disabled or deleted."""
    return message("Not available", f"{meeting_name} is not available. Ask for another time.")


def _acts(booking: Booking, *, others: bool) -> list[tuple[str, str]]:
    """Return what a visitor can do as (path, text of the button), the most likely first."""
    acts = []
    if booking.status == INCOMPLETE:
        acts.append(("confirm", "Pay"))
    if booking.stands:
        acts += [("reschedule", "Reschedule by a day"), ("cancel", "Cancel")]
    if others:
        acts.append(("cancel-series", "Cancel all of the series"))
    return acts


def _buttons(booking: Booking, acts: Iterable[tuple[str, str]]) -> str:
    buttons = "".join(
        f'<form method="post" action="/bookings/{escape(booking.sid)}/{act}">'
        f'<button{" class=plain" if number else ""} type="submit">{escape(text)}</button></form>'
        for number, (act, text) in enumerate(acts)
    )
    return f'<div class="row">{buttons}</div>' if buttons else ""


def _host(booking: Booking) -> str:
    if booking.status != PENDING:
        return ""
    buttons = _buttons(booking, [("approve", "Approve"), ("reject", "Reject")])
    return f'<div class="card"><h2>As the host</h2>{buttons}</div>'


def _series(booking: Booking, series: Sequence[Booking]) -> str:
    if len(series) < 2:
        return ""
    lines = "".join(
        f"<li>{_series_line(each, here=each.sid == booking.sid)}</li>" for each in series
    )
    return f'<div class="card"><h2>The series</h2><ol>{lines}</ol></div>'


def _series_line(booking: Booking, *, here: bool) -> str:
    text = escape(moment(booking.starts_at))
    if not here:
        text = f'<a href="/bookings/{escape(booking.sid)}">{text}</a>'
    return f"{text}, {escape(booking.status)}"


def _day(date: str) -> str:
    return datetime.fromisoformat(date).strftime("%a %d %b")
