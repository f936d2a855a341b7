"""The inbox: a choice survives its address, pages wait for no ledger, events say why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from pool.access.api_keys import Caller, Scope
from pool.api.ops.live.boards import Board
from pool.api.ops.live.inbox_boards import InboxBoards, InboxParts
from pool.api.ops.session.sessions import Session
from pool.errors import LedgerUnavailable
from pool.ledger.inbox_search import Named
from pool.ledger.records import EventState, InboxEvent
from pool.model.bookings import Booking
from pool.operations.event_story import Appointment, story_of
from pool.operations.inbox_selection import InboxSelection
from pool.operations.summary import Alarm
from pool.providers import BookingEvent

NOW = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)
SESSION = Session(Caller("k", frozenset({Scope.ADMIN}), None), "")
CHOICES = [
    InboxSelection(),
    InboxSelection(EventState.DEAD, "a b&c", "demo", "booking_created", "hour", "2026-11-26"),
    InboxSelection(named=Named(("e1",), ("bk-1, 2=3",), ("s-1", "s-2"), ("0" * 32,), ("a" * 16,))),
    InboxSelection(named=Named(), page=7),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_an_address_leads_back_to_its_choice(choice: InboxSelection) -> None:
    """It keeps the search, even one that finds nothing."""
    assert InboxSelection.of(urlsplit(choice.address()).query) == choice


@pytest.mark.parametrize(
    "query",
    [
        "state=x",
        "within=century",
        "day=2026-13-01",
        "day=x",
        "page=-1",
        "page=²",
        "a=" + "&a=" * 300,
    ],
)
def test_an_address_that_makes_no_sense_shows_all(query: str) -> None:
    """People edit addresses; nothing breaks."""
    assert InboxSelection.of(query) == InboxSelection()


def test_a_search_that_makes_no_sense_finds_nothing() -> None:
    """It does not show everything instead."""
    for token in ("x", "email.zoe@x.test", "mark.xyz", "link.a/b", "booking.", "nonsense.y"):
        chosen = InboxSelection.of(f"of={token}")
        assert chosen.named == Named(), token
        assert chosen.sought(NOW).named == Named()


def test_a_time_is_a_stretch() -> None:
    """A day in UTC, the last while, or what both have in common."""
    last_hour = InboxSelection(within="hour").sought(NOW)
    assert (last_hour.since, last_hour.until) == (NOW - timedelta(hours=1), None)
    day = NOW.replace(hour=0)
    today = InboxSelection(day="2026-11-26").sought(NOW)
    assert (today.since, today.until) == (day, day + timedelta(days=1))
    both = InboxSelection(day="2026-11-26", within="hour").sought(NOW)
    assert (both.since, both.until) == (NOW - timedelta(hours=1), day + timedelta(days=1))


# -- a page and a slow ledger ------------------------------------------------------------


class SlowInbox(InboxBoards):
    """An inbox whose ledger answers when the test says so."""

    def __init__(self) -> None:
        super().__init__(cast(Any, None), lambda: self.now)
        self.now = 100.0
        self.answers: asyncio.Queue[InboxParts | Exception] = asyncio.Queue()
        self.asked = 0

    async def _read(self, selection: InboxSelection, session: Session) -> InboxParts:
        self.asked += 1
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_page_shows_the_last_reading_until_there_is_another() -> None:
    """A ledger that is slow or away neither stops the page's channel nor empties the page."""
    inbox, choice = SlowInbox(), InboxSelection()
    moment = cast(Any, SimpleNamespace())
    frame = Board(moment, cast(Alarm, None), {"banner": "b"})

    async def shown() -> Board:
        return await inbox.board(moment, frame, choice, SESSION)

    unread = await shown()
    assert unread.rows == {}
    assert "cannot be read at the moment" in unread.parts["instead"]
    assert inbox.asked == 1
    inbox.answers.put_nowait(InboxParts({"tabs": "t"}, {"e1": "<tr>"}, 1, 0))
    first = await shown()
    assert (first.rows, first.parts) == ({"e1": "<tr>"}, {"banner": "b", "tabs": "t"})
    assert (await shown()).rows == first.rows
    assert inbox.asked == 1
    inbox.now += 10
    assert (await shown()).rows == first.rows
    inbox.answers.put_nowait(LedgerUnavailable("away"))
    assert (await shown()).rows == first.rows
    inbox.answers.put_nowait(InboxParts({}, {"e2": "<tr>"}, 1, 0))
    assert (await shown()).rows == {"e2": "<tr>"}
    inbox.forget()
    await shown()
    assert inbox.asked == 4
    await inbox.close()


# -- why an event matched ---------------------------------------------------------------

SAID = BookingEvent("booked", "booking_created", "bk-1", None, "zoe@x.test", None, ("a-1",), None)
EVENT = InboxEvent(
    "e1", "default", "webhook", "booking_created", "bk-1", "demo", b"{}", NOW,
    EventState.SETTLED, "", "a-1", "slug", 0, None, None, 1, NOW,
)  # fmt: skip


def _kept(match: str | None, state: str = "confirmed") -> Booking:
    return Booking(
        "default", "bk-1", "a-1", state, NOW, None, None, None, None, NOW, NOW, NOW, True, NOW,
        None, match,
    )  # fmt: skip


def _ledger(booking: Booking | None, *, parents: bool = False, ours: bool = True) -> Any:
    async def get(*_: Any) -> Booking | None:
        return booking

    async def find_named(_: str, names: list[str]) -> dict[str, Booking]:
        return {name: _kept("field") for name in names} if parents else {}

    async def find(_: Any) -> list[Any]:
        return [SimpleNamespace(slug="a-1")] if ours else []

    return SimpleNamespace(
        bookings=SimpleNamespace(get=get, find_named=find_named), links=SimpleNamespace(find=find)
    )


@pytest.mark.parametrize(
    ("match", "known_as", "said", "decided", "says"),
    [
        ("field", "field", {"ref": "a-1"}, "Slug in the form", "the field ref says a-1, which is"),
        ("slug", "slug", {}, "Slug anywhere", "the event holds a-1"),
        ("booking", "slug", {}, "Known booking", "was matched by the slug in the event, to a-1"),
        ("booking", "booking", {"parent_sid": "bk-0"}, "Parent booking", "belongs to bk-0, which"),
        ("probable", "probable", {}, "E-mail", "one claim of this meeting gave it"),
        ("assigned", "assigned", {}, None, ""),
    ],
)
async def test_an_event_says_by_which_sign_it_matched(
    match: str, known_as: str, said: dict[str, Any], decided: str | None, says: str
) -> None:
    """One sign decided at most, and it is named in words without the e-mail."""
    ledger = _ledger(_kept(known_as), parents="parent_sid" in said)
    story = await story_of(ledger, replace(EVENT, match=match), replace(SAID, **said), "ref")
    found = {each.name: each.found for each in story.signs if each.decided}
    assert list(found) == ([decided] if decided else [])
    assert says in "".join(found.values())
    assert not any("zoe" in each.found for each in story.signs)


async def test_an_event_without_a_body_shows_what_the_ledger_knows() -> None:
    """The appointment is kept with the booking; the signs went with the body."""
    story = await story_of(_ledger(_kept("slug", "cancelled")), EVENT, None, None)
    assert story.appointment is not None
    assert (story.appointment.state, story.signs) == ("cancelled", ())
    assert (await story_of(_ledger(None), EVENT, None, None)).appointment is None


@pytest.mark.parametrize(
    ("minutes", "zone", "words"),
    [
        (30, "Europe/Berlin", "Thu 26 Nov 2026, 11:00 to 11:30 (Europe/Berlin)"),
        (None, None, "Thu 26 Nov 2026, 10:00 (UTC)"),
        (60 * 24, "Mars/Olympus", "Thu 26 Nov 2026, 10:00 to Fri 27 Nov, 10:00 (UTC; booked in "),
        (30, "../etc/passwd", "Thu 26 Nov 2026, 10:00 to 10:30 (UTC; booked in ../etc/passwd)"),
    ],
)
def test_an_appointment_is_shown_in_its_own_zone(
    minutes: int | None, zone: str | None, words: str
) -> None:
    ends = NOW + timedelta(minutes=minutes) if minutes else None
    assert Appointment(NOW, ends, zone, "confirmed", "").words.startswith(words)
