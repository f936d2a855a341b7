"""Test erasing a customer: nothing of them is left, whatever came before or comes after it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pool.errors import BodyErased, StillErasing, StoreUnavailable
from pool.ledger import EventState, Ledger
from pool.ledger.records import NewEvent
from pool.model.links import State
from pool.model.marks import PSEUDONYM
from tests.any_redis import AnyRedis
from tests.integration.erasure_stage import Customer, Stage
from tests.redis_process import RedisServer

pytest_plugins = ("ledger_fixtures",)

ORDERS = 6


@pytest.fixture
async def stage(
    real_redis: AnyRedis, redis_server: RedisServer, ledger: Ledger, database_url: str
) -> AsyncIterator[Stage]:
    return Stage(real_redis, redis_server, ledger, database_url)


def event(name: str, sid: str, who: Customer, **booking: Any) -> dict[str, Any]:
    """Return an event of one of this customer's bookings."""
    told = {"sid": sid, "name": who.name, "status": "confirmed", "created_at": NOW, **booking}
    return {"event": name, "booking": told}


NOW = "2026-11-22T06:00:00Z"


def url_of(slug: str) -> str:
    return f"https://acme.neetocal.com/bookings/b?one_off_link={slug}"


def events_of(number: int, who: Customer, slug: str, others: str) -> list[dict[str, Any]]:
    """Return all that a provider may report of a customer, in every form."""
    sid = f"bk-{number}"
    return [
        event("booking_created", sid, who, email=who.email, client_booking_url=url_of(slug)),
        event("booking_rescheduled", sid, who, updated_at="2026-11-22T07:00:00Z"),
        event("booking_cancelled", sid, who, updated_at="2026-11-22T08:00:00Z"),
        # The booking of a link that we do not know, and its end, which has no e-mail.
        event("booking_created", f"{sid}-x", who, email=who.email.upper()),
        event("booking_cancelled", f"{sid}-x", who, cancel_reason=f"{who.name} is ill"),
        # Not about a booking, and nobody knows the form.
        {"event": "client_updated", "client": {"mail": who.email, "full": who.name}},
        {"event": "note_added", "text": f"{who.name} uses {slug}"},
        {"event": "lead_added", "lead": {"reference": who.id, "name": who.name}},
        # Somebody else's booking, to which they are invited; and one that names two links.
        event("booking_created", f"{sid}-g", Customer(9_000), client_booking_url=url_of(others),
              guests=[{"email": who.email, "name": who.name}]),
        event("booking_created", f"{sid}-2", who, email=who.email,
              client_booking_url=url_of(slug), text=others),
        # One of a series that began with their booking, and tells of nothing else of theirs.
        event("booking_cancelled", f"{sid}-s", who, parent_booking_id=sid),
        # The same person with another address, and a word that only the link ties to them.
        event("booking_rescheduled", sid, who, email=f"other-{number}@private.example",
              form_responses=[{"field_code": "ref", "value": slug},
                              {"field_code": "who", "value": who.id}]),
    ]  # fmt: skip


async def test_nothing_is_left_whatever_the_order(stage: Stage) -> None:
    """Ledger and Redis hold no trace of the customer, in files, logs or tables.

    That goes for events from before and after the erasing, whether settled, ignored, unmatched or
    waiting.
    """
    for number in range(ORDERS):
        chance = random.Random(number)
        sid, who = f"intro-{number}", Customer(number)
        await stage.open(sid, [f"one-off-a{number}", f"one-off-b{number}"])
        slug = await stage.claim(sid, who, page="/pricing")
        others = await stage.claim(sid, Customer(1_000 + number))
        steps: list[Any] = events_of(number, who, slug, others)
        chance.shuffle(steps)
        steps.insert(chance.randrange(len(steps) + 1), "erase")
        for _ in range(chance.randrange(4)):
            steps.insert(chance.randrange(len(steps)), "settle")
        for step in steps:
            if step == "erase":
                assert await stage.erasure.forget(sid, who.id) == 1
            elif step == "settle":
                await stage.settle()
            else:
                await stage.receive(step)
        await stage.settle()
        assert await stage.ledger.erased.clean_file()
        told = [step if isinstance(step, str) else step["event"] for step in steps]
        assert await stage.found(who.traces()) == {}, told
        # What was erased is still known for what it is: the booking of its link was cancelled.
        link = await stage.link(slug)
        assert (link.customer_id, link.booking_sid is None or PSEUDONYM in link.booking_sid) == (
            None,
            True,
        )
        assert link.state is State.CANCELLED, told
        # The others keep theirs.
        neighbour = await stage.link(others)
        assert (neighbour.customer_id, neighbour.email) == Customer(1_000 + number).words[:2]
        assert neighbour.state is State.CONSUMED


async def test_what_waits_is_erased_at_once(stage: Stage) -> None:
    """An event is erased before any worker has processed it, and the worker still settles it."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1", "one-off-2"])
    slug = await stage.claim(sid, who)
    booked = event("booking_created", "bk-1", who, email=who.email, client_booking_url=url_of(slug))
    await stage.receive(booked)
    await stage.receive(event("booking_cancelled", "bk-1", who))
    assert await stage.erasure.forget(sid, who.id) == 1
    assert await stage.found(who.traces()) == {}
    await stage.settle()
    assert (await stage.link(slug)).state is State.CANCELLED
    later = event("booking_cancelled", "bk-1", who, updated_at="2026-11-23T06:00:00Z")
    event_id = await stage.receive(later)
    kept = await stage.ledger.inbox.get(event_id)
    assert kept is not None
    assert who.name.encode() not in kept.body
    await stage.settle()
    assert (await stage.link(slug)).state is State.CANCELLED
    replayed = await stage.bookings.replay(event_id, "ops")
    assert (replayed.state, replayed.slug) == (EventState.SETTLED, slug)
    # The very webhook once more, as a person may have it sent at any time.
    assert await stage.receive(later) == event_id
    assert await stage.found(who.traces()) == {}


async def test_a_booking_after_the_erasing_settles_and_is_not_kept(stage: Stage) -> None:
    """The page stayed open while its link was erased: the link is used, and belongs to nobody."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1", "one-off-2"])
    slug = await stage.claim(sid, who)
    await stage.erasure.forget(sid, who.id)
    other = f"unheard-of@{who.name}"
    await stage.receive(
        event("booking_created", "bk-1", who, email=other, client_booking_url=url_of(slug))
    )
    await stage.settle()
    assert (await stage.link(slug)).state is State.CONSUMED
    await stage.receive(event("booking_cancelled", "bk-1", who))
    await stage.receive({"event": "note_added", "text": f"{who.name} <{who.email}>"})
    await stage.settle()
    assert (await stage.link(slug)).state is State.CANCELLED
    await stage.ledger.erased.clean_file()
    assert await stage.found(who.traces()) == {}
    assert (await stage.claim(sid, who)) != slug


async def test_a_late_cancellation_settles_though_no_event_of_the_booking_is_left(
    stage: Stage,
) -> None:
    """The cancellation names neither link nor e-mail; the events that did are long out of the
    inbox.
    """
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1"])
    slug = await stage.claim(sid, who)
    await stage.receive(
        event("booking_created", "bk-1", who, email=who.email, client_booking_url=url_of(slug))
    )
    await stage.settle()
    soon = datetime.now(UTC) + timedelta(seconds=1)
    assert (await stage.ledger.retention.prune(events_before=soon, bodies_before=soon)).events == 1
    await stage.erasure.forget(sid, who.id)
    await stage.receive(event("booking_cancelled", "bk-1", who))
    await stage.settle()
    assert (await stage.link(slug)).state is State.CANCELLED
    assert await stage.found({*who.traces(), b"bk-1"}) == {}


async def test_a_booking_of_an_erased_customer_tells_nothing_of_them(stage: Stage) -> None:
    """It keeps no SID, no page of the customer and no hash of the e-mail, whenever it came."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1", "one-off-2"])
    slug = await stage.claim(sid, who)
    page = f"https://acme.neetocal.com/manage/bk-1?one_off_link={slug}&token=9f3e"
    told = {"email": who.email, "client_booking_url": page, "parent_booking_id": "bk-0"}
    await stage.receive(event("booking_created", "bk-1", who, **told))
    await stage.settle()
    await stage.erasure.forget(sid, who.id)
    late = event("booking_rescheduled", "bk-1", who, **told, updated_at="2026-11-23T06:00:00Z")
    await stage.receive(late)
    await stage.receive(event("booking_created", "bk-2", who, parent_booking_id="bk-0"))
    await stage.settle()
    await stage.ledger.erased.clean_file()
    [booking] = await stage.ledger.bookings.of_link(slug)  # bk-2 names neither link nor e-mail
    assert booking.sid.startswith(PSEUDONYM)
    assert (booking.email_key, booking.manage_url, booking.time_zone) == (None, None, None)
    hashed = stage.store.names.email_name(who.email).encode()
    hidden = {b"bk-0", b"bk-1", b"bk-2", b"9f3e", hashed}
    assert await stage.found({*who.traces(), *hidden}) == {}
    assert (await stage.link(slug)).state is State.CONSUMED


async def test_no_form_of_the_e_mail_is_kept_but_its_mark(stage: Stage) -> None:
    """No column of the link has the e-mail, neither as given nor as compared."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1"])
    slug = await stage.claim(sid, who)
    await stage.recorder.record(sid)
    assert [found.link.slug for found in await stage.ledger.search.links(who.email, [sid])] == [
        slug
    ]
    await stage.erasure.forget(sid, who.id)
    assert await stage.ledger.search.links(who.email, [sid]) == []
    now = datetime.now(UTC)
    assert await stage.ledger.links.given_to_email(sid, who.email, by=now, until=now) == []
    assert await stage.found({who.email.encode(), who.email.casefold().encode()}) == {}


async def test_redis_that_fails_in_between_is_erased_by_the_workers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets an error; workers finish the erasing, and a repetition then succeeds."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1", "one-off-2"])
    slug = await stage.claim(sid, who)

    async def away(*_: object) -> None:
        raise StoreUnavailable("Redis: away", connection_lost=True)

    monkeypatch.setattr(stage.store.erasing, "drop", away)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await stage.erasure.forget(sid, who.id)
    assert await stage.erasure.go_on() == 0
    claim = await stage.store.claim_of(sid, who.id)
    assert claim is not None
    assert claim.slug == slug
    monkeypatch.undo()
    assert await stage.erasure.go_on() == 1
    assert await stage.store.claim_of(sid, who.id) is None
    assert await stage.found(who.traces()) == {}
    assert await stage.erasure.forget(sid, who.id) == 1, "nobody was answered that it is done"
    assert await stage.erasure.forget(sid, who.id) == 0
    assert await stage.claim(sid, who) == "one-off-2"


async def test_a_repetition_finishes_what_a_crash_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repetition finishes the work after a failure of any step."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1"])
    slug = await stage.claim(sid, who)
    await stage.receive(
        event("booking_created", "bk-1", who, email=who.email, client_booking_url=url_of(slug))
    )

    async def crash(*_: object) -> None:
        raise RuntimeError("killed")

    for broken in ("mark_events", "_erase_events"):
        with monkeypatch.context() as patch:
            patch.setattr(stage.erasure, broken, crash)
            with pytest.raises(RuntimeError):
                await stage.erasure.forget(sid, who.id)
    assert await stage.erasure.forget(sid, who.id) == 1
    assert await stage.found(who.traces()) == {}


async def test_a_file_in_use_is_reported(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is no 204 while erased bytes stand in SQLite's log."""

    async def in_use() -> bool:
        return False

    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1"])
    await stage.claim(sid, who)
    monkeypatch.setattr(stage.ledger.erased, "clean_file", in_use)
    with pytest.raises(StillErasing):
        await stage.erasure.forget(sid, who.id)
    monkeypatch.undo()
    assert await stage.erasure.go_on() == 1


async def test_who_comes_back_is_a_new_customer(stage: Stage) -> None:
    """The e-mail of their new claim is theirs again, and their events are kept and matched by
    it.
    """
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1", "one-off-2"])
    await stage.claim(sid, who)
    await stage.erasure.forget(sid, who.id)
    again = await stage.claim(sid, who)
    made = {"created_at": datetime.now(UTC).isoformat()}
    event_id = await stage.receive(
        event("booking_created", "bk-9", who, email=who.email, meeting_sid=sid, **made)
    )
    await stage.settle()
    kept = await stage.ledger.inbox.get(event_id)
    assert kept is not None
    assert (kept.state, kept.slug, kept.match) == (EventState.SETTLED, again, "probable")
    assert who.email.encode() in kept.body


async def test_an_event_of_somebody_else_is_left_alone(stage: Stage) -> None:
    """Erasing one customer removes nothing from another's events."""
    one, other, sid = Customer(1), Customer(2), "intro"
    await stage.open(sid, ["one-off-1", "one-off-2"])
    await stage.claim(sid, one)
    slug = await stage.claim(sid, other)
    ids = [
        await stage.receive(
            event(
                "booking_created", "bk-2", other, email=other.email, client_booking_url=url_of(slug)
            )
        ),
        await stage.receive(event("booking_cancelled", "bk-unknown", other)),
    ]
    await stage.erasure.forget(sid, one.id)
    await stage.settle()
    for event_id in ids:
        kept = await stage.ledger.inbox.get(event_id)
        assert kept is not None
        assert other.name.encode() in kept.body


async def test_what_people_wrote_into_the_audit_goes_too(stage: Stage) -> None:
    """The entry stays without its words."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1"])
    await stage.claim(sid, who)
    await stage.ledger.audit.add("ops", "pause", sid, f"asked for by {who.email.lower()}", {})
    await stage.ledger.audit.add("ops", "note", sid, "", {"order": who.id})
    await stage.ledger.audit.add("ops", "resume", sid, "enough links", {"links": 3})
    await stage.erasure.forget(sid, who.id)
    kept = [(each.action, each.reason, each.detail) for each in await stage.ledger.audit.list()]
    assert kept == [
        ("resume", "enough links", {"links": 3}),
        ("note", "(erased)", {}),
        ("pause", "(erased)", {}),
    ]


async def test_events_from_before_there_were_marks_are_found(stage: Stage) -> None:
    """An older version received these events."""
    who, sid = Customer(1), "intro"
    await stage.open(sid, ["one-off-1"])
    await stage.claim(sid, who)
    old = NewEvent("e" * 32, "default", "webhook", "note", who.email.encode(), datetime.now(UTC))
    await stage.ledger.inbox.add(old)
    await stage.settle()
    await stage.erasure.forget(sid, who.id)
    assert await stage.found(who.traces()) == {}


async def test_the_inbox_ends_some_day(stage: Stage) -> None:
    """Bodies of settled events are deleted first, then the events; waiting events never are."""
    now = datetime.now(UTC)
    ages = {EventState.SETTLED: 40, EventState.UNMATCHED: 40, EventState.PENDING: 100}
    for state, days in [*ages.items(), (EventState.UNMATCHED, 95), (EventState.SETTLED, 10)]:
        event_id = f"{state.value}-{days}"
        await stage.ledger.inbox.add(
            NewEvent(event_id, "default", "webhook", "note", b'{"a":1}', now - timedelta(days=days))
        )
        if state is not EventState.PENDING:
            await stage.ledger.inbox.finish(event_id, state)
    done = await stage.ledger.retention.prune(
        events_before=now - timedelta(days=90), bodies_before=now - timedelta(days=30)
    )
    assert (done.events, done.bodies, done.more) == (1, 1, False)
    kept = {each.id: bool(each.body) for each in await stage.ledger.inbox.list()}
    assert kept == {
        "settled-40": False,
        "unmatched-40": True,
        "pending-100": True,
        "settled-10": True,
    }
    with pytest.raises(BodyErased):
        await stage.bookings.replay("settled-40", "ops")
    # A bounded number at a time, and it says that there is more.
    more = await stage.ledger.retention.prune(events_before=now, bodies_before=now, limit=1)
    assert (more.events, more.more) == (1, True)
