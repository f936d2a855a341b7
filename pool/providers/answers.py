"""Read NeetoCal's successful answers: bytes become links, meetings and bookings. No I/O.

Sources: https://apidocs.neetocal.com (create, pagination), and the help article on one-off links
for the second shape of the create answer. The lists are known from other people's code only.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from pool.config.settings import DEFAULT_WORKSPACE, Workspace
from pool.errors import BadAnswer, MalformedJson
from pool.model.links import is_sid, is_slug
from pool.providers import odd_json, webhooks
from pool.providers.base import BookingEvent, NewLink, ProviderMeeting
from pool.providers.refusals import one_line, setting

NAME_MAX_CHARACTERS = 200

Entry = msgspec.Raw  # one entry of a list, as it was written

_label = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_PRIVATE = frozenset({"local", "localhost", "internal", "lan", "home", "test", "invalid", "onion"})
# No query, fragment, user or white space: urlsplit would ignore or drop any of them.
_plain_base = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9_./-]*)?")


def new_link(workspace: Workspace, status: int, body: bytes) -> NewLink:
    """Return the link in a create answer of either shape, {"one_off_link": {…}} or flat.

    Raise BadAnswer, always with maybe_made, since the provider reported that it made a link.
    """

    def bad(problem: str) -> BadAnswer:
        return BadAnswer(
            f"NeetoCal answered {status}, but {problem}", status=status, maybe_made=True
        )

    if not body:
        raise bad(f"with an empty body; check {setting(workspace, 'base_url')}")
    try:
        answer = webhooks.decode(body)
    except MalformedJson as error:
        raise bad(f"{error}; check {setting(workspace, 'base_url')}") from None
    nested = answer.get("one_off_link")
    link: dict[str, Any] = nested if isinstance(nested, dict) else answer
    slug, url = link.get("slug"), link.get("url")
    if not isinstance(slug, str) or not isinstance(url, str):
        raise bad("without a slug and a url; its API may have changed, look for a newer linkpool")
    if not is_slug(slug):
        raise bad("with a slug that is not letters, digits, - and _; linkpool cannot use it")
    base, _, last = url.removesuffix("/").rpartition("/")
    if last != slug:
        raise bad("the link's url does not end in its slug; linkpool cannot use such links")
    plain = _plain_base.fullmatch(base) is not None
    expected = workspace.link_base_url or workspace.api_url
    if plain and _same_place(base, expected):
        return NewLink(slug, f"{expected}/{slug}")
    if plain and not workspace.has_link_base and _is_safe_base(base, slug, workspace.api_url):
        # The workspace has a domain of its own: pool.supply.link_bases compares it with the
        # links made before.
        return NewLink(slug, f"{base.rstrip('/')}/{slug}")
    name = setting(workspace, "link_base_url")
    if not plain or slug in base or len(base) > NAME_MAX_CHARACTERS:
        raise bad(f"its links begin with another address; set {name} to how they begin")
    to = "=" if workspace.name == DEFAULT_WORKSPACE else " to "
    raise bad(f"its links begin with another address; set {name}{to}{base}")


def _is_safe_base(base: str, slug: str, api_url: str) -> bool:
    """Return True if visitors may be sent to such an address.

    It must be HTTPS on a public host name, unless the API itself is not HTTPS.
    """
    if slug in base or len(base) > NAME_MAX_CHARACTERS:
        return False
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError:
        return False
    if api_url.startswith("http://"):
        return bool(parts.hostname)
    return parts.scheme == "https" and port in (None, 443) and _is_public(parts.hostname or "")


def _is_public(host: str) -> bool:
    *labels, last = host.split(".")
    if not labels or last in _PRIVATE or not last.isalpha():  # an address ends in a number
        return False
    return all(_label.fullmatch(each) for each in labels)


def _same_place(one: str, other: str) -> bool:
    try:
        return _place(urlsplit(one)) == _place(urlsplit(other))
    except ValueError:  # an invalid port or bracketed host
        return False


def _place(url: SplitResult) -> tuple[object, ...]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.hostname, port, url.path.rstrip("/")


# -- the lists ----------------------------------------------------------------------


class _Pagination(msgspec.Struct):
    """The number of pages of a list, if the provider gives it."""

    total_pages: int | None = None


def page(status: int, body: bytes, key: str) -> tuple[list[Entry], int | None]:
    """Return the entries of one page of a list, as they were written, and the number of pages.

    The number is None if the provider does not give it. An entry that is not strictly valid JSON
    does not hold up the others. Raise BadAnswer.
    """
    try:
        answer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        entries = msgspec.json.decode(answer[key], type=list[Entry])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        found = odd_json.entries_of(body, key)
        if found is None:
            raise BadAnswer(
                f"NeetoCal answered {status} without a list of {key}", status=status
            ) from None
        return [Entry(each) for each in found], None
    try:
        pagination = msgspec.json.decode(answer.get("pagination", b"{}"), type=_Pagination)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pagination = _Pagination()
    pages = pagination.total_pages or 0
    return entries, pages if pages > 0 else None


def meeting(entry: Entry) -> ProviderMeeting | None:
    """Read one entry of the list of meetings. Return None if it has no usable SID."""
    try:
        fields = webhooks.decode(bytes(entry))
    except MalformedJson:
        return None
    sid, name = fields.get("sid"), fields.get("name")
    if not isinstance(sid, str) or not is_sid(sid):
        return None
    text = one_line(name)[:NAME_MAX_CHARACTERS] if isinstance(name, str) else ""
    own = fields.get("id")
    return ProviderMeeting(
        sid,
        text,
        disabled=fields.get("disabled") is True,
        id=str(own)[:128] if isinstance(own, str | int) and not isinstance(own, bool) else None,
    )


def booking(entry: Entry, ref_field: str | None) -> tuple[BookingEvent, bytes] | None:
    """Return one entry of the list of bookings as an event, and the body of a webhook about it.

    The bytes of the entry are kept as they came, so that an unchanged booking gives an
    unchanged body. Return None if the entry cannot be read: it must not hold up the others.
    """
    try:
        fields = webhooks.decode(bytes(entry))
        status = fields.get("status")
        gone = isinstance(status, str) and status.lower().startswith("cancel")
        name = b"booking_cancelled" if gone else b"booking_created"
        body = b'{"event":"' + name + b'","booking":' + bytes(entry) + b"}"
        return webhooks.parse(body, ref_field), body
    except MalformedJson:
        return None
