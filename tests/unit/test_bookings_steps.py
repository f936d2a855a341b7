"""Test the small steps of bookings: orders, waits, labels, and what becomes of each failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pool.bookings.meeting_ids import MeetingIds
from pool.bookings.settling import Settler
from pool.errors import (
    BadSignature,
    InvalidRequest,
    LedgerUnavailable,
    MalformedJson,
    ProviderFailed,
    StillErasing,
    StoreUnavailable,
    UnknownWorkspace,
)
from pool.ledger import EventState
from pool.ledger.records import InboxEvent, RecordedClaim
from pool.model import bookings as model
from pool.model.bookings import Booking, merged, settled
from pool.model.emails import check_email, kept_forms, same_email
from pool.model.links import Link, State
from pool.providers import BookingEvent, ProviderMeeting
from tests.bookings_machine import _sign
from tests.in_process import InProcess
from tests.integration.ledger_samples import NOW, report
from tests.unit.test_matcher import EVENT, claim

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


# -- two reports of one booking ------------------------------------------------------------

A, B = "a", "b"
ORDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # The first of each pair is the one that is believed.
    "the later change": ({"changed_at": NOW + SECOND}, {"changed_at": NOW}),
    "a change, before one that is not timed": (
        {"changed_at": NOW, "made_at": NOW - HOUR},
        {"changed_at": None, "made_at": NOW - HOUR},
    ),
    "the later made, of equal changes": ({"made_at": NOW}, {"made_at": NOW - HOUR}),
    "a known time of making": ({"made_at": NOW}, {"made_at": None}),
    "confirmed, before pending": ({"state": "confirmed"}, {"state": "pending"}),
    "pending, before incomplete": ({"state": "pending"}, {"state": "incomplete"}),
    "undocumented, before pending": ({"state": "no_show"}, {"state": "pending"}),
    "confirmed, before undocumented": ({"state": "confirmed"}, {"state": "no_show"}),
    "rejected, before confirmed": ({"state": "rejected"}, {"state": "confirmed"}),
    "cancelled, before rejected": ({"state": "cancelled"}, {"state": "rejected"}),
    "of two undocumented the later by name": ({"state": "zz"}, {"state": "aa"}),
    "the later start": ({"starts_at": NOW + SECOND}, {"starts_at": NOW}),
    "a known start": ({"starts_at": NOW}, {"starts_at": None}),
    "the later end": ({"ends_at": NOW + SECOND}, {"ends_at": NOW}),
    "a known end": ({"ends_at": NOW}, {"ends_at": None}),
    "the later time zone by name": ({"time_zone": "UTC"}, {"time_zone": "Asia/Tokyo"}),
    "a known time zone": ({"time_zone": "Africa/Cairo"}, {"time_zone": None}),
    "a known page": ({"manage_url": "https://a.test"}, {"manage_url": None}),
    "an end that is not timed": (
        {"state": "rejected", "changed_at": None, "made_at": None},
        {"state": "confirmed", "changed_at": NOW},
    ),
    "an end of which only the making is timed": (
        {"state": "cancelled", "changed_at": None, "made_at": NOW - HOUR},
        {"state": "confirmed", "changed_at": NOW, "made_at": NOW - HOUR},
    ),
    "anything timed, before what is not": (
        {"changed_at": NOW},
        {"changed_at": None, "made_at": None},
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_of_two_reports_the_same_is_believed_in_either_order(case: str) -> None:
    """Field by field, to the very end."""
    right, wrong = (report("a-1", **fields) for fields in ORDERS[case])
    fields = ("state", "changed_at", "made_at", "starts_at", "ends_at", "time_zone", "manage_url")
    for one in (merged(right, wrong), merged(wrong, right)):
        assert [getattr(one, name) for name in fields] == [getattr(right, name) for name in fields]
        assert merged(one, right) == merged(one, wrong) == one


def test_what_a_later_report_does_not_say_is_kept() -> None:
    """The least of what was said, and the surest sign; the link is that of the first."""
    first = report(
        "a-1", parent_sid="p", heard_at=NOW, email_key="k", match="probable", provider_id="7",
    )  # fmt: skip
    last = report(
        "a-2", "cancelled", changed_at=NOW + HOUR, heard_at=NOW - HOUR, match="field",
        stood=False, stood_at=None,
    )  # fmt: skip
    for one, slug in ((merged(first, last), "a-1"), (merged(last, first), "a-2")):
        assert (one.state, one.slug, one.heard_at) == ("cancelled", slug, NOW - HOUR)
        assert (one.parent_sid, one.email_key, one.provider_id) == ("p", "k", "7")
        assert (one.match, one.stood, one.stood_at) == ("field", True, NOW)
    earlier = replace(first, stood_at=NOW - HOUR, parent_sid="o", email_key="j", provider_id="6")
    both = merged(first, earlier)
    assert (both.stood_at, both.parent_sid, both.email_key, both.provider_id) == (
        NOW - HOUR, "o", "j", "6",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signs", "surest"),
    [
        (("slug", "field"), "field"),
        (("assigned", "slug"), "slug"),
        (("booking", "assigned"), "assigned"),
        (("probable", "booking"), "booking"),
        (("a new one", "probable"), "probable"),
        (("b new", "a new"), "a new"),
        ((None, "probable"), "probable"),
        ((None, "a new"), "a new"),
        ((None, None), None),
    ],
)
def test_the_surest_sign_counts(signs: tuple[str | None, str | None], surest: str | None) -> None:
    """A sign that a newer release wrote is the least sure."""
    one, other = (report("a-1", match=sign) for sign in signs)
    assert merged(one, other).match == merged(other, one).match == surest


@pytest.mark.parametrize(
    ("state", "stands", "documented"),
    [
        ("incomplete", False, True),
        ("pending", True, True),
        ("confirmed", True, True),
        ("cancelled", False, True),
        ("rejected", False, True),
        ("no_show", True, False),
        ("", True, False),
    ],
)
def test_which_states_hold_a_link(state: str, stands: bool, documented: bool) -> None:
    """Whatever is not known does."""
    assert model.stands(state) is stands
    assert model.is_documented(state) is documented


def linked(*bookings: Booking, state: State = State.CLAIMED) -> Link:
    """Return the link as its bookings ask."""
    link = Link("a-1", "u", "intro", state, "pool", "e", NOW - HOUR)
    return settled(link, bookings)


def test_a_link_tells_of_its_bookings() -> None:
    """Since when it was booked, when it ended, the booking that begins first, the surest sign."""
    first = report("a-1", sid="x", starts_at=NOW + 2 * HOUR, match="probable")
    second = report("a-1", sid="y", starts_at=NOW + HOUR, made_at=NOW + SECOND, match="slug")
    link = linked(first, second)
    assert (link.state, link.booking_sid, link.match) == (State.CONSUMED, "y", "slug")
    assert (link.consumed_at, link.cancelled_at) == (NOW, None)
    gone = [
        replace(each, state="cancelled", changed_at=NOW + n * HOUR)
        for n, each in enumerate((first, second), 1)
    ]
    link = linked(*gone, state=State.CONSUMED)
    assert (link.state, link.booking_sid) == (State.CANCELLED, "y")
    assert (link.consumed_at, link.cancelled_at) == (NOW, NOW + 2 * HOUR)
    link = linked(gone[0], second)
    assert (link.state, link.booking_sid, link.cancelled_at) == (State.CONSUMED, "y", None)
    link = linked(first, gone[1])
    assert (link.booking_sid, link.consumed_at) == ("x", NOW)


@pytest.mark.parametrize(
    ("fields", "ended_at"),
    [
        ({"changed_at": NOW + SECOND}, NOW + SECOND),
        ({"changed_at": None, "made_at": NOW + SECOND}, NOW + SECOND),
        ({"changed_at": None, "made_at": None, "heard_at": NOW + HOUR}, NOW + HOUR),
        ({"changed_at": model.CARRIED, "made_at": NOW + SECOND}, NOW + SECOND),
        ({"changed_at": model.CARRIED, "made_at": None, "heard_at": NOW + HOUR}, NOW + HOUR),
    ],
)
def test_an_end_has_the_best_time_that_is_known(fields: dict[str, Any], ended_at: datetime) -> None:
    """Not the one that a migration put there."""
    assert linked(report("a-1", "cancelled", **fields)).cancelled_at == ended_at


def test_of_bookings_without_a_start_the_first_made_is_named() -> None:
    """One with a start comes before them, and of equals the first by name."""
    without = [
        report("a-1", sid="late", made_at=NOW + SECOND),
        report("a-1", sid="early", made_at=NOW),
        report("a-1", sid="never", made_at=None, stood_at=NOW),
        report("a-1", sid="also-early", made_at=NOW),
    ]
    assert linked(*without).booking_sid == "also-early"
    assert (
        linked(*without, report("a-1", sid="far", starts_at=NOW + 999 * HOUR)).booking_sid == "far"
    )
    assert linked(report("a-1", sid=model.unnamed_sid("a-1"))).booking_sid is None
    assert model.unnamed_sid("a-1") == "unnamed:a-1"


def test_a_link_of_which_nothing_stood_stays_as_it_is() -> None:
    """However many forms were filled in; a retired link that is booked is booked."""
    unpaid = report("a-1", "incomplete")
    for state in State:
        assert linked(unpaid, state=state) == linked(state=state)
        assert linked(state=state).state is state
    assert linked(report("a-1"), state=State.RETIRED).state is State.CONSUMED


@pytest.mark.parametrize(
    ("given", "compared"),
    [
        ("  Ann@X.Test ", "ann@x.test"),
        ("ANN.B+tag@x.test", "ann.b+tag@x.test"),
        ("\u00c4nn@X.TEST", "\u00c4nn@x.test"),
        ("zoe\u0308@\u00c4.test", "zo\u00eb@\u00e4.test"),
        ("a@b@C.test", "a@b@c.test"),
        ("NoAt", "noat"),
    ],
)
def test_addresses_are_compared_in_one_form(given: str, compared: str) -> None:
    """And found in the forms in which older releases kept them."""
    assert same_email(given) == compared
    assert same_email(compared) == compared
    assert {compared, given.strip().casefold()} <= kept_forms(given)


# -- when a failure is tried again ---------------------------------------------------------


class FakeInbox:
    """An inbox that notes what became of events."""

    def __init__(self) -> None:
        self.ended: list[tuple[EventState, dict[str, Any]]] = []
        self.put_off: list[tuple[str, float, dict[str, Any]]] = []

    async def finish(self, _id: str, outcome: EventState, **more: Any) -> None:
        self.ended.append((outcome, more))

    async def failed(self, _id: str, reason: str, *, not_before: datetime, **more: Any) -> None:
        wait = (not_before - datetime.now(UTC)).total_seconds()
        self.put_off.append((reason, round(wait), more))


def event(attempts: int = 0, age: timedelta = timedelta()) -> InboxEvent:
    """Return an event that waits."""
    return InboxEvent(
        "e", "default", "webhook", "booked", None, None, b"{}", datetime.now(UTC) - age,
        EventState.PENDING, "", None, None, attempts, None, None, 1, None,
    )  # fmt: skip


def settler(inbox: FakeInbox, error: Exception) -> Settler:
    """Return a settler whose work always ends so."""
    ledger = cast(Any, SimpleNamespace(inbox=inbox))
    nothing = cast(Any, None)
    made = Settler(nothing, ledger, nothing, {}, nothing, counted=lambda *_: None)

    async def fail(_event: InboxEvent) -> None:
        raise error

    made._settle = fail  # type: ignore[method-assign]
    return made


OUTAGE = StoreUnavailable("Redis: away", is_outage=True)


@pytest.mark.parametrize(
    ("error", "attempts", "age", "wait", "its_fault", "reason"),
    [
        (StillErasing("left"), 0, 0, 5, True, "left"),
        (StillErasing("left"), 1, 0, 10, True, "left"),
        (StillErasing("left"), 6, 0, 320, True, "left"),
        (StillErasing("left"), 7, 0, 600, True, "left"),
        (StillErasing("left"), 50, 0, 600, True, "left"),
        (StillErasing("left"), 0, 86_400, 5, True, "left"),
        (StoreUnavailable("Redis: WRONGTYPE"), 2, 0, 20, True, "Redis: WRONGTYPE"),
        (OUTAGE, 9, 0, 5, False, "Redis: away"),
        (OUTAGE, 9, 39, 5, False, "Redis: away"),
        (OUTAGE, 0, 41, 10, False, "Redis: away"),
        (OUTAGE, 0, 81, 20, False, "Redis: away"),
        (OUTAGE, 0, 86_400, 60, False, "Redis: away"),
        (LedgerUnavailable("away"), 3, 0, 5, False, "away"),
        (UnknownWorkspace("not there"), 0, 0, 600, False, "not there"),
        (TimeoutError(), 0, 0, 5, True, "not settled within 25 seconds"),
        (ValueError("x" * 900), 0, 0, 5, True, "ValueError: " + "x" * 488),
    ],
)
async def test_a_failure_is_tried_again_after_a_while(
    error: Exception, attempts: int, age: int, wait: int, its_fault: bool, reason: str
) -> None:
    """Twice as long each time, up to ten minutes; an outage counts no attempt, and is looked at
    at least once a minute.
    """
    inbox = FakeInbox()
    await settler(inbox, error).settle(event(attempts, timedelta(seconds=age)))
    assert inbox.ended == []
    [(said, seconds, more)] = inbox.put_off
    assert (said, seconds) == (reason, wait)
    assert more == {"max_attempts": 10, "its_fault": its_fault}


async def test_what_cannot_be_read_is_not_tried_again() -> None:
    """The reason is kept."""
    inbox = FakeInbox()
    await settler(inbox, MalformedJson("no JSON")).settle(event())
    assert inbox.put_off == []
    assert inbox.ended == [(EventState.IGNORED, {"reason": "no JSON"})]


@pytest.mark.parametrize(
    ("age", "wait"), [(0, 60), (119, 60), (122, 61), (3_600, 1_800), (10**6, 86_400)]
)
async def test_an_unmatched_event_waits_for_half_its_age(
    product: InProcess, age: int, wait: int
) -> None:
    """A minute at least, and a day at most."""
    body = b'{"event":"booking_created","booking":{"sid":"b","email":"x@x.test"}}'
    event_id = await product.parts.bookings.receive("default", body, [_sign(body)])
    kept = await product.ledger.inbox.get(event_id)
    assert kept is not None
    old = replace(kept, received_at=datetime.now(UTC) - timedelta(seconds=age))
    await product.parts.bookings._settler.settle(old)
    kept = await product.ledger.inbox.get(event_id)
    assert kept is not None
    assert (kept.state, kept.reason) == (
        EventState.UNMATCHED, "it names no link, and its meeting is not known",
    )  # fmt: skip
    assert kept.not_before is not None
    assert abs((kept.not_before - datetime.now(UTC)).total_seconds() - wait) < 5


@pytest.mark.parametrize(
    ("says", "stood", "stood_at"),
    [
        ({"made_at": NOW, "changed_at": NOW + SECOND}, True, NOW),
        ({"changed_at": NOW + SECOND}, True, NOW + SECOND),
        ({}, True, NOW + HOUR),
        ({"state": "pending"}, True, NOW + HOUR),
        ({"state": "incomplete", "made_at": NOW}, False, None),
        ({"state": "cancelled", "made_at": NOW}, True, None),
        ({"state": "rejected", "made_at": NOW}, True, None),
    ],
)
def test_a_report_says_since_when_a_booking_stood(
    says: dict[str, Any], stood: bool, stood_at: datetime | None
) -> None:
    """All but an unpaid form held the link at some time."""
    names = SimpleNamespace(email_name=lambda email: f"hash of {email}")
    store = cast(Any, SimpleNamespace(names=names))
    nothing = cast(Any, None)
    made = Settler(store, nothing, nothing, {}, nothing, counted=lambda *_: None)
    said = replace(
        EVENT, booking_sid=None, email="a@x.test", provider_id="7", parent_sid="p", **says
    )
    found = made.report("default", said, "a-1", "slug", NOW + HOUR)
    assert (found.stood, found.stood_at) == (stood, stood_at)
    assert (found.sid, found.email_key) == ("unnamed:a-1", "hash of a@x.test")
    assert (found.provider_id, found.parent_sid, found.heard_at) == ("7", "p", NOW + HOUR)
    bare = made.report("default", replace(said, email=None, booking_sid="b"), "a-1", None, NOW)
    assert (bare.sid, bare.email_key, bare.match) == ("b", None, None)


# -- the inbox and its labels --------------------------------------------------------------


async def send(product: InProcess, booking: dict[str, Any], name: str = "booking_created") -> str:
    """Receive a signed event. Return its id."""
    body = json.dumps({"event": name, "booking": booking}).encode()
    return await product.parts.bookings.receive("default", body, [_sign(body)])


async def one_claim(product: InProcess, *slugs: str) -> None:
    """Have a customer of a meeting hold each of these links, for an hour."""
    await product.meeting("intro")
    now = datetime.now(UTC)
    await product.ledger.links.record(
        [
            RecordedClaim(
                slug, "u", "intro", slug, f"{slug}@x.test", None, "pool", now - HOUR, now + HOUR
            )
            for slug in slugs
        ]
    )


async def test_events_are_counted_by_what_became_of_them(product: InProcess) -> None:
    """Each under a label of few, whatever the sender writes."""

    def counted(name: str, outcome: str) -> float:
        return product.metric(
            "linkpool_webhooks_total", workspace="default", event=name, outcome=outcome
        )

    await one_claim(product, "link-a")
    for _ in range(3):
        await send(product, {"sid": "b", "notes": "link-a"})
    assert (counted("booking_created", "received"), counted("booking_created", "repeated")) == (
        1,
        2,
    )
    await send(product, {}, "x" * 100)
    assert counted("other", "received") == 1
    with pytest.raises(BadSignature):
        await product.parts.bookings.receive("default", b"{}", ["sha256=00"])
    assert counted("unknown", "bad-signature") == 1
    unreadable = await product.parts.bookings.receive("default", b"\xff", [_sign(b"\xff")])
    assert counted("other", "unreadable") == 1
    with pytest.raises(UnknownWorkspace):
        await product.parts.bookings.receive("gone", b"{}", [])
    await send(product, {"sid": "stray"})
    while await product.parts.bookings.settle_due():
        pass
    assert counted("booking_created", "settled") == 1
    assert counted("booking_created", "unmatched") == 1
    assert counted("other", "ignored") == 1
    kept = await product.ledger.inbox.get(unreadable)
    assert kept is not None
    assert (kept.state, kept.body) == (EventState.IGNORED, b"\xff")
    names = {each.event for each in await product.ledger.inbox.list()}
    assert "x" * 64 in names


async def test_events_before_that_of_their_booking_are_looked_at_again(product: InProcess) -> None:
    """Of the booking itself, and of its children, by the one name or the other."""
    await one_claim(product, "link-a")
    children = {"by-sid": "b", "by-id": "id-of-b", "of-another": "elsewhere"}
    for sid, parent in children.items():
        await send(product, {"sid": sid, "parent_booking_id": parent})
    await send(product, {"sid": "b", "status": "cancelled"}, "booking_cancelled")
    while await product.parts.bookings.settle_due():
        pass
    assert await product.ledger.inbox.count(EventState.UNMATCHED) == 4
    await send(product, {"sid": "b", "id": "id-of-b", "notes": "link-a"})
    while await product.parts.bookings.settle_due():
        pass
    assert await product.ledger.inbox.count(EventState.UNMATCHED) == 1
    of_link = await product.ledger.bookings.of_link("link-a")
    assert {each.sid for each in of_link} == {"b", "by-sid", "by-id"}


REPORTS = {
    "sid": {"sid": "b", "notes": "link-a", "updated_at": "2026-05-01T10:00:00Z"},
    "both": {"sid": "b", "id": 7, "notes": "link-a", "updated_at": "2026-05-01T11:00:00Z"},
    "id": {"id": 7, "notes": "link-a", "updated_at": "2026-05-01T12:00:00Z"},
}


@pytest.mark.parametrize(
    "order", [("both", "id"), ("id", "both"), ("sid", "id", "both"), ("sid", "both", "id")]
)
async def test_a_booking_is_one_whether_its_sid_or_its_id_is_given(
    product: InProcess, order: tuple[str, ...]
) -> None:
    """The SID stays, whichever came first; the last report counts, which cancels it."""
    await one_claim(product, "link-a", "link-b")
    for each in order:
        over = each == "id"
        await send(
            product,
            REPORTS[each] | {"status": "cancelled" if over else "confirmed"},
            "booking_cancelled" if over else "booking_created",
        )
        await product.parts.bookings.settle_due()
    [booking] = await product.ledger.bookings.of_link("link-a")
    assert (booking.sid, booking.provider_id, booking.state) == ("b", "7", "cancelled")
    link = await product.ledger.links.get("link-a")
    assert link is not None
    assert (link.state, link.booking_sid) == (State.CANCELLED, "b")
    assert await product.state("link-b") is State.CLAIMED


async def test_an_id_that_is_anothers_sid_moves_no_booking_to_another_link(
    product: InProcess,
) -> None:
    """Each stays with the link that it was first matched to."""
    await one_claim(product, "link-a", "link-b")
    for said in (
        {"sid": "7", "notes": "link-a"},
        {"sid": "b", "notes": "link-b"},
        {"sid": "b", "id": "7", "notes": "link-b"},
    ):
        await send(product, said)
        await product.parts.bookings.settle_due()
    assert [each.sid for each in await product.ledger.bookings.of_link("link-a")] == ["7"]
    assert [each.sid for each in await product.ledger.bookings.of_link("link-b")] == ["b"]


async def test_a_booking_is_counted_once_for_its_link(product: InProcess) -> None:
    """Its children, its end, and a booking after that are no further ones."""
    await one_claim(product, "link-a", "link-b")
    now = datetime.now(UTC)

    async def booked(sid: str, slug: str, status: str = "confirmed", second: int = 0) -> int:
        at = (now + second * SECOND).isoformat()
        name = "booking_cancelled" if status == "cancelled" else "booking_created"
        await send(
            product,
            {"sid": sid, "status": status, "created_at": now.isoformat(), "updated_at": at,
             "notes": slug},
            name,
        )  # fmt: skip
        await product.parts.bookings.settle_due()
        return (await product.level("intro")).totals.bookings

    assert await booked("a", "link-a", "incomplete") == 0
    assert await booked("a", "link-a", second=1) == 1
    assert await booked("child", "link-a") == 1
    assert await booked("a", "link-a", "cancelled", 2) == 1
    assert await booked("child", "link-a", "cancelled", 3) == 1
    assert await product.state("link-a") is State.CANCELLED
    assert await booked("again", "link-a", second=4) == 1
    assert await booked("b", "link-b") == 2


async def test_redis_learns_of_a_booking_once_if_its_customer_is_known(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is recorded first if no claim is known; a leaked link is nobody's."""
    await one_claim(product, "link-a")
    await product.stock("intro", "link-b", "link-c")
    told: list[tuple[str, str | None]] = []
    mark = product.store.mark

    async def noted(sid: str, slug: str, customer_id: str | None, claim: Any) -> bool:
        told.append((slug, customer_id))
        return await mark(sid, slug, customer_id, claim)

    monkeypatch.setattr(product.store, "mark", noted)

    async def marks(slug: str) -> list[str | None]:
        told.clear()
        await send(product, {"sid": f"of-{slug}", "notes": slug})
        await product.parts.bookings.settle_due()
        return [who for each, who in told if each == slug]

    assert await marks("link-a") == ["link-a"]
    assert await product.claim("intro", "ann") == ["link-b"]  # not recorded yet
    found = await marks("link-b")
    assert found[0] is None
    assert found[-1] == "ann"
    held = await product.store.claim_of("intro", "ann")
    assert held is not None
    assert held.state == "consumed"
    assert await marks("link-c") == [None]
    assert await product.pooled("intro") == []


async def test_a_listed_booking_is_news_if_anything_that_counts_changed(product: InProcess) -> None:
    """Not its time zone or page, and not if nothing of ours fits it."""
    await one_claim(product, "link-a")
    now = datetime.now(UTC).replace(microsecond=0)
    base = {
        "sid": "b", "status": "confirmed", "created_at": now.isoformat(),
        "updated_at": now.isoformat(), "starts_at": (now + HOUR).isoformat(),
        "ends_at": (now + 2 * HOUR).isoformat(), "notes": "link-a",
    }  # fmt: skip

    async def listed(*bookings: dict[str, Any]) -> int:
        bodies = [json.dumps({"event": "booking_created", "booking": b}).encode() for b in bookings]
        found = [(product.provider.parse_event(body), body) for body in bodies]
        news = await product.parts.bookings.receive_listed("default", found)
        while await product.parts.bookings.settle_due():
            pass
        return news

    later = (now + SECOND).isoformat()
    assert await listed(base) == 1
    assert await listed(base) == 0
    assert await listed(base | {"time_zone": "UTC"}) == 0
    assert await listed(base | {"updated_at": later}) == 1
    assert await listed(base | {"updated_at": later, "starts_at": later}) == 0, "an older report"
    assert await listed(base | {"sid": "x", "notes": "nothing"}) == 0
    assert await listed(base | {"sid": "y", "notes": "", "email": "link-a@x.test"}) == 1
    assert await listed(base | {"sid": "z", "notes": "", "email": "else@x.test"}) == 0
    assert await listed(base | {"sid": "w", "notes": "", "parent_booking_id": "b"}) == 1
    events = await product.ledger.inbox.list()
    assert {each.source for each in events} == {"reconcile"}
    assert await listed({}, {"sid": "b"}) == 0


# -- matching ------------------------------------------------------------------------------


async def test_what_matches_nothing_of_ours_is_known_at_once(product: InProcess) -> None:
    """By slug, by parent, by e-mail; a booking without a SID is nobody's to judge."""
    await product.meeting("intro")
    await product.ledger.links.record([claim("link-ada", "ada", "ada@x.test")])
    await product.ledger.bookings.settle(report("link-ada", sid="known", provider_id="id-of-known"))
    says: dict[str, dict[str, Any]] = {
        "slug": {"tokens": ("zzz", "link-ada")},
        "field": {"ref": "link-ada"},
        "parent": {"parent_sid": "known"},
        "parent by id": {"parent_sid": "id-of-known"},
        "e-mail": {"email": "ADA@x.test"},
        "nothing": {"tokens": ("zzz",), "parent_sid": "other", "email": "bob@x.test"},
        "nothing at all": {},
    }
    events = [replace(EVENT, booking_sid=sid, **fields) for sid, fields in says.items()]
    matcher = product.parts.bookings._matcher
    found = await matcher.hopeless("default", [*events, replace(EVENT, booking_sid=None)])
    assert found == {"nothing", "nothing at all"}
    elsewhere = await matcher.hopeless("other", [events[2]])
    assert elsewhere == {"parent"}


async def ids_of(
    product: InProcess, meetings: Callable[[], list[ProviderMeeting]], clock: list[float]
) -> MeetingIds:
    async def listed() -> list[ProviderMeeting]:
        return meetings()

    product.provider.meetings = listed  # type: ignore[method-assign]
    return MeetingIds(product.ledger, product.parts.providers, clock=lambda: clock[0])


async def test_ids_are_learned_from_a_provider_that_comes_and_goes(product: InProcess) -> None:
    """A learned id stays, also for a meeting that is not listed any more."""
    clock, answers = [100.0], [ProviderFailed("500", status=500)]
    listed: list[ProviderMeeting] = []

    def meetings() -> list[ProviderMeeting]:
        if answers:
            raise answers.pop()
        return listed

    ids = await ids_of(product, meetings, clock)
    assert await ids.sid_of("default", "1") is None
    assert not ids.gives_none("default")
    clock[0] += 300
    listed.append(ProviderMeeting("one", "One", disabled=False, id="1"))
    assert await ids.sid_of("default", "1") == "one"
    listed[:] = [ProviderMeeting("two", "Two", disabled=False, id="2")]
    clock[0] += 300
    assert await ids.sid_of("default", "2") == "two"
    assert await ids.sid_of("default", "1") == "one"
    assert await product.ledger.facts.get("meeting-ids:default") == '{"1":"one","2":"two"}'
    assert await ids.sid_of("not configured", "1") is None


async def test_a_provider_without_ids_is_known_as_such(product: InProcess) -> None:
    """Only if it lists any meeting; one id is enough to say otherwise."""
    clock, listed = [100.0], list[ProviderMeeting]()
    ids = await ids_of(product, lambda: listed, clock)
    for meetings, without in (
        ([], False),
        ([ProviderMeeting("a", "A", disabled=False, id="7")], False),
        ([ProviderMeeting("a", "A", disabled=False)], True),
    ):
        listed[:] = meetings
        clock[0] += 301
        await ids.sid_of("default", "9")
        assert ids.gives_none("default") is without
        assert not ids.gives_none("other")


async def test_a_ledger_that_keeps_no_ids_is_no_reason_not_to_know_them(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process knows them."""

    async def away(*_: object) -> None:
        raise LedgerUnavailable("away")

    listed = [ProviderMeeting("one", "One", disabled=False, id="1")]
    ids = await ids_of(product, lambda: listed, [100.0])
    monkeypatch.setattr(product.ledger.facts, "put", away)
    assert await ids.sid_of("default", "1") == "one"


async def test_questions_that_are_remembered_are_bounded(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of ids may be made up by a sender who has the secret."""
    monkeypatch.setattr("pool.bookings.meeting_ids._ASKED_MOST", 10)
    clock = [100.0]
    ids = await ids_of(product, list, clock)
    for number in range(40):
        clock[0] += 2
        assert await ids.sid_of("default", str(number)) is None
    assert len(ids._asked) <= 12


async def test_of_a_customers_claims_the_one_held_then_is_meant(product: InProcess) -> None:
    """By the minute, with two minutes for the clocks; one of several customers' is not."""
    await product.meeting("intro")
    now = datetime.now(UTC).replace(microsecond=0)
    await product.ledger.links.record(
        [
            claim("first", "ada", "a@x.test", claimed_at=now - 4 * HOUR, lapses_at=now),
            claim("second", "ada", "a@x.test", claimed_at=now - 2 * HOUR, lapses_at=now + HOUR),
        ]
    )

    async def matched(made_at: datetime) -> str | None:
        said: BookingEvent = replace(EVENT, email="a@x.test", made_at=made_at)
        found = await product.parts.bookings._matcher.match("default", said, now + 9 * HOUR)
        return getattr(getattr(found, "link", None), "slug", None)

    assert await matched(now - 4 * HOUR - timedelta(minutes=2, seconds=1)) is None
    assert await matched(now - 4 * HOUR - timedelta(minutes=2)) == "first"
    assert await matched(now - 2 * HOUR - timedelta(minutes=2, seconds=1)) == "first"
    assert await matched(now - 2 * HOUR - timedelta(minutes=2)) == "second"
    assert await matched(now + HOUR) == "second"
    assert await matched(now + HOUR + SECOND) is None


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("a@b", True),
        ("a@b@c", True),
        ("@b@c", True),
        ("@b", False),
        ("a@", False),
        ("a@b@", False),
        ("ab", False),
        ("a b@c", False),
        ("a\n@c", False),
        ("a" * 252 + "@c", True),
        ("a" * 253 + "@c", False),
    ],
)
def test_what_could_be_an_address(address: str, fits: bool) -> None:
    """Something on both sides of its last at sign, and no longer than mail can carry."""
    if fits:
        check_email(address)
    else:
        with pytest.raises(InvalidRequest) as refused:
            check_email(address)
        assert str(refused.value) == "invalid email"
        assert refused.value.errors == ("email: not an e-mail address - `$.email`",)


async def test_an_event_is_kept_with_all_that_it_names(product: InProcess) -> None:
    """Later events of its parent find it by these."""
    body = (
        b'{"event":"booking_created","booking":{"sid":"b-1","parent_booking_id":"p-1",'
        b'"meeting_sid":"intro","email":"x@x.test"}}'
    )
    event_id = await product.parts.bookings.receive("default", body, [_sign(body)])
    kept = await product.ledger.inbox.get(event_id)
    assert kept is not None
    assert (kept.workspace, kept.booking_sid, kept.parent_sid) == ("default", "b-1", "p-1")
    assert (kept.source, kept.event, kept.body) == ("webhook", "booking_created", body)
