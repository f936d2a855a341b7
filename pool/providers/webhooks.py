"""Read NeetoCal's webhooks.

The webhook's shape is known only from other people's code, and sister products wrap theirs in
`{"webhook": …}`; so it is read tolerantly, and the raw body is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from pool.errors import MalformedJson
from pool.model.bookings import CANCELLED, CONFIRMED, INCOMPLETE, PENDING, REJECTED
from pool.model.links import is_sid, is_slug
from pool.providers.base import BookingEvent, EventKind

TOKENS_MAX = 500
NAME_MOST_CHARACTERS = 200
# Real payloads are about five levels deep. A fixed limit far below the interpreter's ensures
# that a body accepted in one process is not refused in another with a deeper stack.
DEPTH_MAX = 64

_run = re.compile(r"[A-Za-z0-9_-]+")
_TOKEN_MIN_CHARACTERS, _TOKEN_MAX_CHARACTERS = 4, 128
_not_in_addresses = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff\"<>\\^`{|}]")
_utc = re.compile(r"\s*(UTC|GMT|Z)\Z", re.IGNORECASE)
_unspeakable = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_KINDS: dict[str, EventKind] = {
    "booking_created": "booked",
    "booking_cancelled": "cancelled",
    "booking_canceled": "cancelled",
    "booking_rescheduled": "rescheduled",
}


# A pending booking becomes "approved": it then stands like any other.
_STATES = {
    "confirmed": CONFIRMED,
    "approved": CONFIRMED,
    "pending": PENDING,
    "incomplete": INCOMPLETE,
    "rejected": REJECTED,
}


def decode(body: bytes) -> dict[str, Any]:
    """Return the JSON object that the bytes hold. Raise MalformedJson and nothing else.

    Strict UTF-8, no NaN, no lone surrogates, no numbers out of range; if a key appears twice,
    the last one counts.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedJson("the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise MalformedJson("the body is JSON, but not an object")
    return value


def parse(body: bytes, ref_field: str | None) -> BookingEvent:
    """Read a webhook's body, in linear time. Raise MalformedJson and nothing else."""
    root = decode(body)
    strings = _strings(root)
    layers = layers_of(root)
    name = _event_name(layers)
    kind = _KINDS.get(re.sub(r"[^a-z]+", "_", name.lower()), "other")
    booking = booking_of(layers)
    meeting = booking.get("meeting")
    times = [time_of(booking.get("created_at")), time_of(booking.get("updated_at"))]
    if kind != "booked":
        times.reverse()  # for a change after the booking, the time of the update is the better one
    parent = _id(booking.get("parent_booking_id"))
    provider_id = _id(booking.get("id"))
    sid = _id(booking.get("sid")) or provider_id
    return BookingEvent(
        kind=kind,
        name=name,
        booking_sid=sid,
        meeting_sid=_sid(booking.get("meeting_sid"))
        or (_sid(meeting.get("sid")) if isinstance(meeting, dict) else None),
        email=_email(booking.get("email")) or _email(booking.get("client_email")),
        ref=_ref(booking.get("form_responses"), ref_field),
        tokens=_tokens(strings),
        at=times[0] or times[1],
        state=CANCELLED if kind == "cancelled" else state_of(booking.get("status")),
        provider_id=provider_id if provider_id != sid else None,
        # It is not documented whether a parent is named by its id or by its SID.
        parent_sid=parent if parent not in (sid, provider_id) else None,
        meeting_id=_id(booking.get("meeting_id"))
        or (_id(meeting.get("id")) if isinstance(meeting, dict) else None),
        made_at=time_of(booking.get("created_at")),
        changed_at=time_of(booking.get("updated_at")),
        starts_at=time_of(booking.get("starts_at")),
        ends_at=time_of(booking.get("ends_at")),
        time_zone=_id(booking.get("time_zone")),
        manage_url=_web_address(booking.get("client_booking_url")),
        booker=_name(booking.get("name")) or _name(booking.get("client_name")),
    )


def state_of(status: object) -> str:
    """Return the state that a booking's status means; an undocumented status as it is."""
    word = _unspeakable.sub("", status).strip()[:64] if isinstance(status, str) else ""
    if word.lower().startswith("cancel"):  # canceled, cancelled_by_host
        return CANCELLED
    return _STATES.get(word.lower(), word) or CONFIRMED


def _strings(root: object) -> list[str]:
    """Return all strings among the values, in the order they were written. No recursion.

    Raise MalformedJson if they are nested too deep.
    """
    found: list[str] = []
    waiting: list[tuple[object, int]] = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict | list):
            if depth > DEPTH_MAX:
                raise MalformedJson(f"the body is nested more than {DEPTH_MAX} deep")
            inner = list(value.values() if isinstance(value, dict) else value)
            waiting.extend((each, depth + 1) for each in reversed(inner))
    return found


def _tokens(strings: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for text in strings:
        # A URL inside a URL has its slashes as %2F, whose "2F" would stick to the slug.
        for reading in dict.fromkeys((text, unquote(text, errors="ignore"))):
            for run in _run.finditer(reading):
                length = run.end() - run.start()
                if _TOKEN_MIN_CHARACTERS <= length <= _TOKEN_MAX_CHARACTERS and is_slug(run[0]):
                    found[run[0]] = None
                    if len(found) == TOKENS_MAX:
                        return tuple(found)
    return tuple(found)


def layers_of(root: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the object itself and the envelopes in it, outermost first."""
    layers = [root]
    for layer in layers:
        inner = (layer.get(key) for key in ("webhook", "payload", "data"))
        layers.extend(each for each in inner if isinstance(each, dict))
    return layers


def _event_name(layers: Iterable[Mapping[str, Any]]) -> str:
    for layer in layers:
        for key in ("event", "event_type", "event_name"):
            name = layer.get(key)
            if isinstance(name, str) and name:
                return _unspeakable.sub("", name)[:64]
    return ""


def booking_of(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the booking's fields, which some envelopes hold directly."""
    for layer in layers:
        booking = layer.get("booking")
        if isinstance(booking, dict):
            return booking
    for layer in layers:
        if "starts_at" in layer or "form_responses" in layer:
            return layer
    return {}


def _ref(responses: object, ref_field: str | None) -> str | None:
    """Return the slug in the answer to `ref_field`, which visitors can edit, or None."""
    if ref_field is None or not isinstance(responses, list):
        return None
    for response in responses:
        if isinstance(response, dict) and response.get("field_code") == ref_field:
            for answer in _answers(response.get("value")):
                slug = answer.strip()
                if is_slug(slug):
                    return slug
    return None


def _answers(value: object) -> Iterator[str]:
    for answer in value if isinstance(value, list) else [value]:
        if isinstance(answer, str):
            yield answer
        elif type(answer) is int and abs(answer) < 1 << 63:  # True is an int, too
            yield str(answer)


def _id(value: object) -> str | None:
    for text in _answers(value) if not isinstance(value, list) else ():
        if 0 < len(text) <= 128 and not _unspeakable.search(text):
            return text
    return None


def _web_address(value: object) -> str | None:
    """Return the value if it is an http or https address that pages may offer as a link."""
    if not isinstance(value, str) or len(value) > 2_048 or _not_in_addresses.search(value):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in ("http", "https") and parts.hostname else None


def _sid(value: object) -> str | None:
    return value if isinstance(value, str) and is_sid(value) else None


def _name(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return _unspeakable.sub("", value).strip()[:NAME_MOST_CHARACTERS] or None


def _email(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    email = value.strip()
    fits = 3 <= len(email) <= 320 and "@" in email and not _unspeakable.search(email)
    return email if fits else None


def time_of(value: object) -> datetime | None:
    """Return a time in ISO 8601 as aware UTC, and None for anything else.

    A time without an offset is taken as UTC, whose name may stand behind it: Ruby prints
    `2026-11-22 06:00:00 UTC`.
    """
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        time = datetime.fromisoformat(_utc.sub("Z", value.strip()))
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
