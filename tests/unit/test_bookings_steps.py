"""Test the small steps of settling: retries after a failure, and the inbox with its labels."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pool.bookings.settling import Settler
from pool.errors import (
    BadSignature,
    LedgerUnavailable,
    MalformedJson,
    StillErasing,
    StoreUnavailable,
    UnknownWorkspace,
)
from pool.ledger import EventState
from pool.ledger.records import InboxEvent, RecordedClaim
from pool.model.links import State
from tests.bookings_machine import _sign
from tests.in_process import InProcess
from tests.integration.ledger_samples import NOW
from tests.unit.test_matcher import EVENT

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


# -- when a failure is tried again ---------------------------------------------------


class FakeInbox:
    """An inbox that notes the outcome of each event."""

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
    """Return a settler whose work always ends with this."""
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
    """The pause doubles up to ten minutes. An outage counts no attempt, and is retried at least
    once a minute.
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
    """It waits for at least a minute and at most a day."""
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


# -- the inbox and its labels --------------------------------------------------------


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
    """Each counts under one of a few labels, whatever the sender writes."""

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
    """These are events of the booking and of its children, by either name."""
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
    """Its children, its end and a later booking are not counted again."""
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
    """Its time zone and page do not count, nor does a booking that matches none of our links."""
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
