"""Reduce the body of an erased customer's event to what settling needs.

The result has the same form as a webhook's, so that an event is settled, replayed and assigned as
before. Everything that a person wrote, or that names one, is left out. Only times, known words, the
meeting, the booking's pseudonym and our slugs are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from pool.errors import MalformedJson
from pool.providers import webhooks

_TIMES = ("created_at", "updated_at", "starts_at", "ends_at", "cancelled_at")
_word = re.compile(r"[a-z]+(?:_[a-z]+)*", re.IGNORECASE)
_identity = re.compile(r"[0-9a-fA-F-]{36}|[0-9]{1,19}")
_WORD_CHARACTERS = 32


def texts_of(body: bytes) -> list[str]:
    """Return every text in a body: its strings, or all of it if it is not a JSON object."""
    try:
        return list(_texts(webhooks.decode(body)))
    except MalformedJson:
        return [body.decode("utf-8", "replace")]


def redacted(
    body: bytes, *, ref_field: str | None, slugs: Sequence[str], rename: Callable[[str], str]
) -> bytes:
    """Return the body without anything personal; empty if it cannot be read.

    `slugs` are those of its tokens that name links of ours; `rename` gives the pseudonym of a
    booking's SID.
    """
    try:
        event = webhooks.parse(body, ref_field)
        booking = webhooks.booking_of(webhooks.layers_of(webhooks.decode(body)))
    except MalformedJson:
        return b""
    kept: dict[str, Any] = {
        key: booking[key] for key in _TIMES if webhooks.time_of(booking.get(key)) is not None
    }
    if event.booking_sid is not None:
        kept["sid"] = rename(event.booking_sid)
    if event.provider_id is not None:
        kept["id"] = rename(event.provider_id)
    for key in ("parent_booking_id", "parent_booking_sid"):
        parent = booking.get(key)
        if isinstance(parent, str | int) and not isinstance(parent, bool) and parent:
            kept[key] = rename(str(parent))
    status = booking.get("status")
    if isinstance(status, str) and _is_word(status):
        kept["status"] = status
    if isinstance(booking.get("reschedule_requested"), bool):
        kept["reschedule_requested"] = booking["reschedule_requested"]
    if event.meeting_sid is not None:
        kept["meeting_sid"] = event.meeting_sid
    meeting_id = booking.get("meeting_id")
    if isinstance(meeting_id, str | int) and _identity.fullmatch(str(meeting_id)):
        kept["meeting_id"] = meeting_id
    if ref_field is not None and event.ref in slugs:
        kept["form_responses"] = [{"field_code": ref_field, "value": event.ref}]
    name = event.name if _is_word(event.name) else "other"
    return msgspec.json.encode({"event": name, "booking": kept, "links": list(slugs)})


def _is_word(text: str) -> bool:
    return len(text) <= _WORD_CHARACTERS and _word.fullmatch(text) is not None


def _texts(root: object) -> Iterator[str]:
    """Yield keys and values: a person's words may be either in a form. No recursion."""
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif type(value) is int:
            yield str(value)
