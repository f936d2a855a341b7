"""Test that pools are read once for all pages, and only while somebody looks at one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from fastapi import Request

from pool.access.api_keys import Caller
from pool.api.ops.live.beat import UNSEEN_SECONDS, Live
from pool.api.ops.live.boards import Boards
from pool.api.ops.session.forms import form_of
from pool.api.ops.session.sessions import Session
from pool.claims.known_meetings import KnownMeetings
from pool.config.settings import Settings
from pool.errors import InvalidRequest
from pool.ledger import Ledger
from pool.model.meetings import Meeting
from pool.operations.reader import Reader
from pool.operations.selection import Selection
from pool.operations.trends import Trends
from pool.operations.vitals_watch import VitalsWatch
from pool.store import Store
from pool.store.summed import Looked
from tests.any_redis import AnyRedis


class CountingStore(Store):
    """A store that counts the looks at pools."""

    looks = 0

    async def look_at(self, meetings: Sequence[Meeting]) -> Looked:
        """Count this look, and look."""
        self.looks += 1
        return await super().look_at(meetings)


@asynccontextmanager
async def reading(
    fake_redis: AnyRedis, ledger: Ledger, every_seconds: float
) -> AsyncIterator[tuple[Reader, CountingStore]]:
    """Return a reader of one meeting, and the store it reads."""
    store = CountingStore(fake_redis.bare, fake_redis.store.names)
    known_meetings = KnownMeetings(store, ledger)
    known_meetings.put(Meeting("shown"))
    reader = Reader(store, known_meetings, Settings(), every_seconds=every_seconds)
    try:
        yield reader, store
    finally:
        await reader.close()


async def test_ten_pages_cost_what_one_costs(fake_redis: AnyRedis, any_ledger: Ledger) -> None:
    """All of them get the same readings, which are made once."""
    async with reading(fake_redis, any_ledger, 0.05) as (reader, store):

        async def follow() -> list[int]:
            seen = []
            async for snapshot in reader.follow():
                seen.append(id(snapshot))
                if len(seen) == 4:
                    break
            return seen

        seen = await asyncio.gather(*(follow() for _ in range(10)))
        assert len({tuple(each) for each in seen}) == 1
        assert 4 <= store.looks <= 5


async def test_pools_are_read_less_often_while_nobody_sees_a_page(
    fake_redis: AnyRedis, any_ledger: Ledger
) -> None:
    """A page that becomes visible gets a new reading at once, and the others stay at rest."""
    async with reading(fake_redis, any_ledger, 0.02) as (reader, store):
        live = Live(reader, VitalsWatch(store, any_ledger, 5.0))
        hidden = live.follow(unseen=True)
        await anext(hidden)
        assert reader.rests_seconds == UNSEEN_SECONDS
        await asyncio.sleep(0.1)  # five times the pace of pages that are seen
        assert 1 <= store.looks <= 2
        seen = live.follow()
        await anext(seen)
        assert reader.rests_seconds == 0.0
        await seen.aclose()
        assert reader.rests_seconds == UNSEEN_SECONDS
        await hidden.aclose()
        await live.close()


async def test_what_was_just_done_is_in_the_next_reading(
    fake_redis: AnyRedis, any_ledger: Ledger
) -> None:
    """A reading of many pools is good for seconds, and yet it is renewed after an action."""
    async with reading(fake_redis, any_ledger, 60.0) as (reader, _):
        live = Live(reader, VitalsWatch(reader._store, any_ledger, 5.0))
        before = (await live.moment()).found
        reader._known_meetings.put(Meeting("shown", paused=True))
        assert (await live.moment()).found is before
        live.forget()
        [after] = (await live.moment()).found
        assert after.meeting.paused
        await live.close()


async def test_nothing_is_read_while_nobody_looks(fake_redis: AnyRedis, any_ledger: Ledger) -> None:
    """The reader stops when the last page has gone, and starts again with the next one."""
    async with reading(fake_redis, any_ledger, 0.02) as (reader, store):
        for _ in range(2):
            before = store.looks
            following = reader.follow()
            await anext(following)
            assert store.looks > before
            await following.aclose()
            assert reader._loop is not None
            await asyncio.wait_for(reader._loop, 30)  # a reading that was due may still be made
            looks = store.looks
            await asyncio.sleep(0.1)  # five times the pace of a page that is seen
            assert store.looks == looks


async def test_a_stop_ends_every_stream_at_once(fake_redis: AnyRedis, any_ledger: Ledger) -> None:
    """A server that stops does not wait for open pages."""
    async with reading(fake_redis, any_ledger, 60.0) as (reader, _):
        following = reader.follow()
        await anext(following)
        waiting = asyncio.create_task(anext(following, None))
        await asyncio.sleep(0.01)
        reader.stop()
        assert await asyncio.wait_for(waiting, 30) is None


async def test_pages_that_show_the_same_are_sent_the_same_bytes(
    fake_redis: AnyRedis, any_ledger: Ledger
) -> None:
    """A page is sent only what changed since the last message."""
    async with reading(fake_redis, any_ledger, 60.0) as (reader, store):
        boards = Boards(Trends(store), 5.0)
        session = Session(Caller("k", frozenset({"read"}), None), "")
        snapshot = await reader.latest()
        first = await boards.board(snapshot, Selection(), session)
        again = await boards.board(snapshot, Selection(), session)
        assert first is again
        assert first.message_after(None) is again.message_after(None)
        assert b'"rows":{"shown"' in first.message_after(None)
        assert b'"rows":{}' in first.message_after(first)
        bound = Session(Caller("b", frozenset({"read"}), frozenset({"other"})), "")
        assert (await boards.board(snapshot, Selection(), bound)).rows == {}


async def test_a_form_with_too_many_fields_is_refused() -> None:
    """The error is typed, like every refusal."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"a=1&" * 100, "more_body": False}

    with pytest.raises(InvalidRequest):
        await form_of(Request({"type": "http", "headers": []}, receive))  # type: ignore[arg-type]
