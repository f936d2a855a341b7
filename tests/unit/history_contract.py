"""Hold any Redis to the promises of the meetings' history, in modules that import this."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from msgspec.structs import replace

from pool.model.meetings import Meeting
from pool.store import key_names
from pool.store.history import History
from pool.store.records import Level, Span, Totals
from tests.any_redis import AnyRedis
from tests.unit.store_contract import SID, claim, open_pool

SWEEP_SECONDS = 5.0
# Seconds that a piece of the past covers, and for which the past is kept, by step.
LENGTHS = {10: 1_800, 60: 43_200, 3_600: 7 * 86_400}
KEPT = {10: 3_600, 60: 86_400, 3_600: 35 * 86_400}


class Sweeps:
    """Sweeps that pretend to look at one meeting at chosen times of the recent past."""

    def __init__(self, redis: AnyRedis, level: Level) -> None:
        self.redis = redis
        self.level = level
        # Slots of an hour, of a minute and of 10 s all begin here.
        self.start = int(time.time()) // 3_600 * 3_600 - 3_600

    async def at(
        self,
        seconds: float,
        fresh: int,
        *,
        target: int = 50,
        claims: int = 0,
        top_ups: int = 0,
        bookings: int = 0,
    ) -> bool:
        """Sweep `seconds` after the start, finding this level and these totals."""
        level = replace(
            self.level,
            fresh=fresh,
            now_ms=round((self.start + seconds) * 1000),
            totals=Totals(claims, top_ups, bookings),
        )
        # Another process each time: nothing rests on what one remembers.
        history = History(self.redis.bare)
        return await history.sample([level], {level.sid: target}, sweep_seconds=SWEEP_SECONDS)


@pytest.fixture
async def sweeps(any_redis: AnyRedis) -> Sweeps:
    """Return a published meeting, and sweeps over it."""
    await any_redis.store.published.put([Meeting(SID)])
    return Sweeps(any_redis, (await any_redis.store.look([SID]))[0])


async def read(sweeps: Sweeps, span: Span) -> list[tuple[int, int, int, int]]:
    """Return seconds after the start, level, lowest and claims of each sample."""
    series = await sweeps.redis.store.history.read(SID, span)
    return [
        (sample.at_ms // 1000 - sweeps.start, sample.level, sample.lowest, sample.claims)
        for sample in series.samples
    ]


async def past_of(redis: AnyRedis) -> dict[bytes, Any]:
    """Return the stored past of the meeting."""
    held = await redis.everything()
    return {
        key: value for key, value in held.items() if key.startswith(b"lp:{%s}:h:" % SID.encode())
    }


async def test_every_answered_link_is_counted_once(any_redis: AnyRedis) -> None:
    """It is counted before and after it is recorded, however often the recorder runs; reloads are
    not.
    """
    await open_pool(any_redis, "a-1", "a-2", "a-3", "a-4")
    store = any_redis.store
    await claim(any_redis, "ann", "bob", "ann")
    await claim(any_redis, "bob")
    assert (await store.look([SID]))[0].totals == Totals(claims=2, top_ups=4)
    await store.stream.trim(SID, (await store.stream.unrecorded(SID, 10))[-1].entry_id)
    await claim(any_redis, "cyd")
    await store.count_booking(SID)
    assert (await store.look([SID]))[0].totals == Totals(claims=3, top_ups=4, bookings=1)


async def test_a_slot_gets_one_sample_however_many_sweep(sweeps: Sweeps) -> None:
    """Sweeps of one slot, one after the other or at once, take one sample."""
    assert await sweeps.at(0, 50)
    assert not await sweeps.at(5, 49, claims=1)
    took = await asyncio.gather(*(sweeps.at(10 + n / 10, 40, claims=10) for n in range(5)))
    assert took.count(True) == 1
    assert [sample[1:] for sample in await read(sweeps, Span.DAY)] == [(50, 50, 0)]
    history = sweeps.redis.store.history
    taken = await sweeps.redis.bare.xlen(key_names.history_taken(10))
    assert taken == 2
    assert (await history.read(SID, Span.DAY)).step_seconds == 60


async def test_what_does_not_change_is_known_and_costs_nothing(sweeps: Sweeps) -> None:
    """Nothing is written for a quiet meeting, and yet it has a sample for every slot."""
    for minute in range(60):
        await sweeps.at(60 * minute, 50)
    assert await past_of(sweeps.redis) == {}
    found = await read(sweeps, Span.DAY)
    assert found == [(60 * minute, 50, 50, 0) for minute in range(60)]


async def test_counts_from_before_the_first_sample_are_in_the_next(sweeps: Sweeps) -> None:
    """They are counted once, at each step, also where the meeting came after its slot's sample."""
    other = replace(sweeps.level, sid="older", now_ms=sweeps.start * 1000)
    history = History(sweeps.redis.bare)
    assert await history.sample([other], {"older": 50}, sweep_seconds=SWEEP_SECONDS)
    for seconds, claims in ((10, 7), (20, 7), (60, 9), (120, 9), (3_600, 9)):
        await sweeps.at(seconds, 50, claims=claims, top_ups=50 + claims)
    for span, grown in ((Span.DAY, (60, 9, 59)), (Span.FIVE_WEEKS, (3_600, 9, 59))):
        found = [
            (each.at_ms // 1000 - sweeps.start, each.claims, each.top_ups)
            for each in (await sweeps.redis.store.history.read(SID, span)).samples
        ]
        assert [each for each in found if each[1] or each[2]] == [grown]


async def test_an_earlier_stretch_ends_where_it_is_asked_to(sweeps: Sweeps) -> None:
    """It ends with the state of that moment, though nothing changed until later."""
    sweeps.start = int(time.time()) // 60 * 60 - 7_200
    for seconds, fresh, claims in ((0, 50, 0), (60, 50, 0), (7_140, 20, 30)):
        await sweeps.at(seconds, fresh, claims=claims)
    history = sweeps.redis.store.history
    earlier = await history.read(SID, Span.DAY, ago_seconds=3_600)
    found = [(each.at_ms // 1000 - sweeps.start, each.level) for each in earlier.samples]
    assert found == [(0, 50), (60, 50)]
    looked = await history.taken(Span.DAY, ago_seconds=3_600)
    assert len(looked.samples) == 2
    assert len((await history.read(SID, Span.DAY)).samples) == 3


async def test_counts_are_what_happened_since_the_sample_before(sweeps: Sweeps) -> None:
    """Each step has them, with the lowest level seen, also where the sample came later."""
    await sweeps.at(0, 50)
    await sweeps.at(10, 5, claims=45, top_ups=0)
    await sweeps.at(20, 48, claims=52, top_ups=50, bookings=3)
    await sweeps.at(60, 50, claims=52, top_ups=52, bookings=3)
    assert await read(sweeps, Span.DAY) == [(0, 50, 50, 0), (60, 50, 5, 52)]
    last = (await sweeps.redis.store.history.read(SID, Span.DAY)).samples[-1]
    assert (last.top_ups, last.bookings, last.covers_seconds, last.target) == (52, 3, 60, 50)
    assert last.claims_per_second == 52 / 60


async def test_a_gap_stays_a_gap_and_loses_no_count(sweeps: Sweeps) -> None:
    """After missed sweeps, the next sample covers the time since the last one, and says so."""
    for seconds, claims in ((0, 0), (60, 6), (600, 60), (660, 66)):
        await sweeps.at(seconds, 50, claims=claims)
    series = await sweeps.redis.store.history.read(SID, Span.DAY)
    assert [(s.claims, s.covers_seconds, s.after_gap) for s in series.samples] == [
        (0, 60, False),
        (6, 60, False),
        (54, 540, True),
        (6, 60, False),
    ]


async def test_a_level_from_before_the_window_is_still_known(any_redis: AnyRedis) -> None:
    """A meeting that last changed hours ago begins its hour with the level it has."""
    await any_redis.store.published.put([Meeting(SID)])
    sweeps = Sweeps(any_redis, (await any_redis.store.look([SID]))[0])
    sweeps.start = int(time.time()) // 3_600 * 3_600 - 6 * 3_600
    await sweeps.at(0, 31)
    now = int(time.time()) - sweeps.start
    for seconds in range(now - 3_000, now, 60):
        await sweeps.at(seconds, 31)
    found = await read(sweeps, Span.HOUR)
    assert len(found) == 50
    assert {level for _, level, _, _ in found} == {31}


async def test_a_redis_that_counts_anew_does_not_run_backwards(sweeps: Sweeps) -> None:
    """After data was lost, totals begin at 0, and counts continue and are never negative."""
    for seconds, claims in ((0, 0), (60, 1_010), (120, 4), (180, 9)):
        await sweeps.at(seconds, 50, claims=claims)
    assert [claims for _, _, _, claims in await read(sweeps, Span.DAY)] == [0, 1_010, 4, 5]


async def test_a_clock_set_back_does_not_end_the_history(sweeps: Sweeps) -> None:
    """A Redis whose clock was days ahead for a moment goes on being sampled once it is right."""
    await sweeps.at(5 * 86_400, 50)
    for seconds, claims in ((0, 3), (60, 7)):
        assert await sweeps.at(seconds, 50, claims=claims)
    found = [(at, claims) for at, _, _, claims in await read(sweeps, Span.DAY)]
    assert found[:2] == [(0, 3), (60, 4)]


async def test_a_busy_meeting_keeps_no_more_than_its_windows(any_redis: AnyRedis) -> None:
    """Each piece of the past has an end, after which it expires."""
    await any_redis.store.published.put([Meeting(SID)])
    sweeps = Sweeps(any_redis, (await any_redis.store.look([SID]))[0])
    sweeps.start = int(time.time()) - 12_000
    for slot in range(0, 1_200, 6):
        await sweeps.at(10 * slot, slot)
    # Redis forgets whole blocks of a stream; a block has 100 entries.
    assert 60 <= await any_redis.bare.xlen(key_names.history_taken(10)) <= 60 + 100
    pieces = [tuple(map(int, key.split(b":")[-2:])) for key in await past_of(any_redis)]
    now = int(time.time())
    assert {step for step, _ in pieces} == {10, 60, 3_600}
    # Half an hour each: the hour, and what its first piece has besides.
    assert 2 <= len([step for step, _ in pieces if step == 10]) <= 4
    for step, chunk in pieces:
        begin, length = chunk * LENGTHS[step], LENGTHS[step]
        gone_at = now + await any_redis.bare.ttl(key_names.history(SID, step, chunk))
        assert gone_at <= begin + 2 * length + KEPT[step]


async def test_a_piece_of_the_past_can_be_read_alone(sweeps: Sweeps) -> None:
    """Once the time before it has expired, the rest still reads the same."""
    sweeps.start = int(time.time()) // 1_800 * 1_800 - 3_600  # what is older is gone
    for seconds, fresh, claims in ((0, 50, 0), (600, 41, 9), (1_810, 40, 10), (2_400, 30, 20)):
        await sweeps.at(seconds, fresh, claims=claims)
    whole = await sweeps.redis.store.history.read(SID, Span.DAY)
    assert [(s.level, s.claims) for s in whole.samples] == [(50, 0), (41, 9), (40, 1), (30, 10)]
    halves = sorted(key for key in await past_of(sweeps.redis) if b":h:10:" in key)
    first, second = [(await sweeps.redis.bare.get(key)).decode() for key in halves]
    assert first == "-1,50,50;60,41,50,9;"
    assert second == "-1,41,50;1,40,50,1;60,30,50,10;"


async def test_entries_at_the_border_of_two_pieces_are_both_kept(sweeps: Sweeps) -> None:
    """They are the last slot of one piece and the first of the next."""
    # A minute ago or up to 31, so that all of it is past, and of the last hour.
    sweeps.start = (int(time.time()) - 60) // 1_800 * 1_800
    for seconds, claims in ((-20, 0), (-10, 5), (0, 7), (10, 10)):
        await sweeps.at(seconds, 50, claims=claims)
    series = await sweeps.redis.store.history.read(SID, Span.HOUR)
    assert [sample.claims for sample in series.samples] == [0, 5, 2, 3]


async def test_sparks_show_the_last_minutes_of_many_meetings(any_redis: AnyRedis) -> None:
    """Rates per 10 s; zero where nothing happened, nothing where nobody looked."""
    await any_redis.store.published.put([Meeting(SID), Meeting("quiet")])
    levels = await any_redis.store.look([SID, "quiet"])
    now = int(time.time()) // 10 * 10
    history = any_redis.store.history
    for back, claims in ((60, 0), (50, 20), (40, 20), (10, 50), (0, 55)):
        busy, quiet = (replace(level, now_ms=(now - back) * 1000) for level in levels)
        busy = replace(busy, totals=Totals(claims=claims, top_ups=claims // 2))
        targets = {SID: 50, "quiet": 50}
        await history.sample([busy, quiet], targets, sweep_seconds=SWEEP_SECONDS)
    sparks = await history.sparks([SID, "quiet"], points=7)
    shown = list(sparks[SID].claims_per_second)
    # The clock may have moved on to the next slot, which has no sample yet.
    assert shown in ([0, 2, 0, None, None, 1, 0.5], [2, 0, None, None, 1, 0.5, None])
    assert set(sparks["quiet"].claims_per_second) <= {0, None}
    assert sparks[SID].top_ups_per_second[1] in (1, 0)
