"""Filter, sort and page the answers of GET /bookings and GET /meetings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from sandbox.answers import HOST_EMAIL, HOST_NAME
from sandbox.clock import iso, parsed, utc_now
from sandbox.records import CANCELLED, INCOMPLETE, Booking, Refused
from sandbox.state import State

PAGE_SIZE = 30
PAGE_SIZE_MOST = 100
SEARCH_LEAST_CHARACTERS = 3
_FILTERS = ("type", "client_email", "host_email", "meeting_sid", "search")
_TIMES = ("starts_after", "starts_before")
_ORDER = ("sorting_key", "sorting_order")
_KEPT = 16

T = TypeVar("T")
_Test = Callable[[Booking], bool]


class BookingList:
    """Find bookings. Going through the pages of one query costs one search, not one per page.

    A result is kept until a booking changes; whether a booking is past may be 10 s out of date.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._found: OrderedDict[tuple[str, ...], Sequence[Booking]] = OrderedDict()
        self._changes = -1

    def find(self, query: Mapping[str, str]) -> Sequence[Booking]:
        """Return the bookings that pass all filters, in the order asked for (newest made first).

        Without `type` all are listed, incomplete and rejected ones, too. A rejected booking
        is in none of the types. There is no filter by when a booking changed. Raise
        Refused 422 for a time that cannot be read; any other unusable value filters nothing.
        """
        if self._changes != self._state.changes:
            self._found.clear()
            self._changes = self._state.changes
        now = iso(utc_now())
        key = (now[:18], *(query.get(name, "") for name in (*_FILTERS, *_TIMES, *_ORDER)))
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._search(query, now)
            if len(self._found) > _KEPT:
                self._found.popitem(last=False)
        return found

    def _search(self, query: Mapping[str, str], now: str) -> Sequence[Booking]:
        found: Iterable[Booking] = self._state.bookings.values()
        for test in self._tests(query, now):
            found = filter(test, found)
        by_start = query.get("sorting_key") == "starts_at"
        # They are in the order they were made in, so that this sort is quick.
        return sorted(
            found,
            key=lambda b: (b.starts_at if by_start else b.created_at, b.number),
            reverse=query.get("sorting_order", "desc") != "asc",
        )

    def _tests(self, query: Mapping[str, str], now: str) -> list[_Test]:
        types: dict[str, _Test] = {
            "upcoming": lambda b: b.stands and b.starts_at > now,
            "past": lambda b: b.stands and b.starts_at <= now,
            "cancelled": lambda b: b.status == CANCELLED,
            "incomplete": lambda b: b.status == INCOMPLETE,
        }
        tests = []
        if kind := types.get(query.get("type", "")):
            tests.append(kind)
        if email := query.get("client_email", "").lower():
            tests.append(lambda b: b.email.lower() == email)
        if host := query.get("host_email", "").lower():
            tests.append(lambda _: host == HOST_EMAIL)  # the one host of all meetings
        if sid := query.get("meeting_sid"):
            tests.append(lambda b: b.meeting_sid == sid)
        if after := _time(query, "starts_after"):
            tests.append(lambda b: b.starts_at > after)
        if before := _time(query, "starts_before"):
            tests.append(lambda b: b.starts_at < before)
        search = query.get("search", "").lower()
        if len(search) >= SEARCH_LEAST_CHARACTERS:
            tests.append(lambda b: any(search in text.lower() for text in self._searched(b)))
        return tests

    def _searched(self, booking: Booking) -> tuple[str, ...]:
        meeting = self._state.meeting_name(booking.meeting_sid)
        person = (booking.name, booking.email, booking.sid)
        return (*person, meeting, HOST_NAME, *booking.answers.values())


def page_of(items: Sequence[T], query: Mapping[str, str]) -> tuple[list[T], dict[str, int]]:
    """Return one page of `items` and the pagination object; unusable numbers count as absent."""
    size = min(_positive(query.get("page_size"), PAGE_SIZE), PAGE_SIZE_MOST)
    number = _positive(query.get("page_number"), 1)
    pagination = {
        "total_records": len(items),
        "total_pages": -(-len(items) // size),
        "current_page_number": number,
        "page_size": size,
    }
    return list(items[(number - 1) * size : number * size]), pagination


def _time(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name)
    if not text:
        return None
    moment = parsed(text)
    if moment is None:
        raise Refused(422, f"{name} takes a time such as 2030-01-31T10:00:00Z")
    return iso(moment)


def _positive(text: str | None, default: int) -> int:
    # Python refuses to read a number of thousands of digits.
    if text is not None and text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    return default
