"""Test assigning a booking that names none of linkpool's links, as an operator does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from pool.bookings.bookings import Bookings
from pool.config.settings import Workspace
from pool.errors import NotAssignable, StoreUnavailable, UnknownEvent, UnknownLink
from pool.ledger import EventState, Ledger, NewEvent
from pool.ledger.records import InboxEvent
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.operations.timelines import timelines
from pool.providers import open_provider
from pool.store import Store
from tests.any_redis import AnyRedis
from tests.unit.recovery_stage import SID, Stage, stage_on

ACME, OTHER = [
    Workspace(name=name, subdomain=name, api_key=SecretStr("key")) for name in ("default", "other")
]


@dataclass
class Desk:
    """One meeting with an open pool, and an inbox."""

    stage: Stage
    bookings: Bookings
    ledger: Ledger

    async def unmatched(self, event_id: str = "e1", **fields: Any) -> str:
        """Return an event that no link fits, as the worker leaves it."""
        booking = {"event": "booking_created", "booking": {"sid": "bk-1", "email": "z@x.test"}}
        values: dict[str, Any] = {
            "workspace": "default",
            "source": "webhook",
            "event": "booking_created",
            "body": json.dumps(booking).encode(),
            "received_at": datetime.now(UTC),
            "booking_sid": "bk-1",
        }
        await self.ledger.inbox.add(NewEvent(event_id, **values | fields))
        await self.bookings.settle_due()
        return event_id

    async def event(self, event_id: str = "e1") -> InboxEvent:
        kept = await self.ledger.inbox.get(event_id)
        assert kept is not None
        return kept

    async def acts(self) -> list[tuple[str, str, str | None, str]]:
        return [
            (each.actor, each.action, each.meeting_sid, each.reason)
            for each in await self.ledger.audit.list()
        ]


@pytest.fixture
async def desk(fake_redis: AnyRedis, sqlite_ledger: Ledger) -> Any:
    stage = stage_on(fake_redis, sqlite_ledger)
    await sqlite_ledger.meetings.put(Meeting(SID))
    await stage.recover()
    await stage.top_up("a-1", "a-2", "a-3")
    providers = {each.name: open_provider(each, timeout_seconds=1) for each in (ACME, OTHER)}
    bookings = Bookings(
        stage.store, sqlite_ledger, stage.recorder, providers, counted=lambda *labels: None
    )
    yield Desk(stage, bookings, sqlite_ledger)
    for provider in providers.values():
        await provider.close()


async def test_an_assigned_booking_consumes_the_link(desk: Desk) -> None:
    """Ledger and Redis show it, and the audit has the operator, the meeting and the reason."""
    await desk.stage.claim("zoe")
    await desk.stage.recorder.record(SID)
    event_id = await desk.unmatched()
    assert (await desk.event()).state is EventState.UNMATCHED
    done = await desk.bookings.assign(event_id, "a-1", "ops", "she phoned")
    assert (done.state, done.slug, done.match) == (EventState.SETTLED, "a-1", "assigned")
    link = await desk.ledger.links.get("a-1")
    assert link is not None
    assert (link.state, link.booking_sid, link.match) == (State.CONSUMED, "bk-1", "assigned")
    held = await desk.stage.store.claim_of(SID, "zoe")
    assert (held.slug, held.state) == ("a-1", "consumed")
    assert await desk.acts() == [("ops", "assign", SID, "she phoned")]


async def test_assigning_again_changes_nothing(desk: Desk) -> None:
    """The answer is the same, also once the body is erased; the audit has no second entry."""
    await desk.stage.claim("zoe")
    await desk.stage.recorder.record(SID)
    await desk.unmatched()
    first = await desk.bookings.assign("e1", "a-1", "ops")
    assert await desk.bookings.assign("e1", "a-1", "ops") == first
    await desk.ledger.links.forget(SID, "zoe", "name", desk.stage.store.names.marks)
    assert (await desk.bookings.assign("e1", "a-1", "ops")).state is EventState.SETTLED
    assert len(await desk.acts()) == 1


async def test_a_fresh_link_leaves_the_pool_when_a_booking_is_assigned_to_it(desk: Desk) -> None:
    """The link was used, so no other customer may be shown it."""
    await desk.unmatched()
    await desk.bookings.assign("e1", "a-2", "ops")
    assert await desk.stage.pooled() == ["a-1", "a-3"]


async def test_an_assignment_outlives_an_outage(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is away the decision is kept, and it is carried out once Redis is back."""
    await desk.unmatched()

    async def away(*_: object) -> bool:
        raise StoreUnavailable("Redis is away")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "mark", away)
        waiting = await desk.bookings.assign("e1", "a-1", "ops")
    assert (waiting.state, waiting.slug) == (EventState.PENDING, "a-1")
    done = await desk.bookings.replay("e1", "ops")
    assert (done.state, done.slug, done.match) == (EventState.SETTLED, "a-1", "assigned")


async def test_a_settled_event_is_not_assigned_elsewhere(desk: Desk) -> None:
    """One booking uses one link."""
    await desk.unmatched()
    await desk.bookings.assign("e1", "a-1", "ops")
    with pytest.raises(NotAssignable, match="the booking belongs to another link"):
        await desk.bookings.assign("e1", "a-2", "ops")
    assert await desk.stage.state("a-2") is State.FRESH


async def test_a_link_of_another_booking_is_refused(desk: Desk) -> None:
    """Its customer's booking stays theirs."""
    await desk.stage.book("a-1", State.CONSUMED)
    body = b'{"event": "booking_created", "booking": {"sid": "bk-2"}}'
    await desk.unmatched(body=body, booking_sid="bk-2")
    with pytest.raises(NotAssignable, match="another booking"):
        await desk.bookings.assign("e1", "a-1", "ops")
    assert (await desk.event()).state is EventState.UNMATCHED
    assert await desk.acts() == []


async def test_a_link_of_another_workspace_is_refused(desk: Desk) -> None:
    """An event says nothing about the meetings of another account."""
    await desk.unmatched(workspace="other")
    with pytest.raises(NotAssignable, match="workspace"):
        await desk.bookings.assign("e1", "a-1", "ops")


@pytest.mark.parametrize(
    ("body", "why"),
    [(b'{"event": "host_updated"}', "not about a booking"), (b"", "erased")],
)
async def test_what_is_no_booking_is_refused(desk: Desk, body: bytes, why: str) -> None:
    """Events of other kinds, and those whose body is gone, move no link."""
    await desk.unmatched(body=body)
    with pytest.raises(NotAssignable, match=why):
        await desk.bookings.assign("e1", "a-1", "ops")


async def test_unknown_events_and_links_are_said(desk: Desk) -> None:
    """Nothing is noted in the audit."""
    with pytest.raises(UnknownEvent):
        await desk.bookings.assign("nothing", "a-1", "ops")
    with pytest.raises(UnknownEvent):
        await desk.bookings.replay("nothing", "ops")
    await desk.unmatched()
    with pytest.raises(UnknownLink):
        await desk.bookings.assign("e1", "b-9", "ops")
    assert await desk.acts() == []


async def test_a_timeline_tells_the_whole_story(desk: Desk) -> None:
    """It has creation, claim, event, replay, assignment and booking in order, with the actors."""
    await desk.stage.claim("zoe")
    await desk.stage.recorder.record(SID)
    await desk.unmatched()
    await desk.bookings.replay("e1", "ops", "try again")
    await desk.bookings.assign("e1", "a-1", "ops", "she phoned")
    found = await desk.ledger.search.links("zoe", [SID])
    [timeline] = await timelines(desk.ledger, found)
    assert timeline.link.state is State.CONSUMED
    told = {moment.what: moment for moment in timeline.moments}
    assert set(told) == {"made", "claimed", "event", "replay", "assign", "booking"}
    assert told["assign"].said == "Event assigned to this link: she phoned"
    assert told["assign"].by == "ops"
    assert told["event"].event_id == "e1"
    assert told["booking"].said == "Booked, matched by an operator"
    assert list(timeline.moments) == sorted(timeline.moments, key=lambda moment: moment.at)


async def test_a_withdrawn_link_says_why(desk: Desk) -> None:
    """It was drained, or quarantined after a fence."""
    now = datetime.now(UTC)
    await desk.ledger.links.move(["a-1"], State.RETIRED, at=now)
    await desk.ledger.links.move(["a-2"], State.QUARANTINED, at=now)
    found = [
        each for slug in ("a-1", "a-2") for each in await desk.ledger.search.links(slug, [SID])
    ]
    said = [timeline.moments[-1].said for timeline in await timelines(desk.ledger, found)]
    assert said[0].startswith("Retired")
    assert said[1].startswith("Quarantined")
