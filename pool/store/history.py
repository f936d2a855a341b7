"""Keep each meeting's past: every 10 s for an hour, each minute for a day, each hour for 5 weeks.

Sweeps take the samples, for all meetings at once and at most once per slot of 10 s, and
write only those of meetings in which something changed; which slots were sampled is kept
once for all meetings. Counts are differences of totals, so that a sweep that was missed,
late, or repeated loses and doubles nothing: the next sample covers a longer time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from pool.model.outcomes import FLOW
from pool.store import chunks, key_names
from pool.store.chunks import STEPS, Entry
from pool.store.cluster.client import ClusterRedis
from pool.store.connect import run_each, store_errors
from pool.store.locks import Locks
from pool.store.records import Level, Sample, Series, Span, Spark
from pool.store.tallies import Tallies

LOCK_SECONDS = 10.0
_FINEST = Span.HOUR.step_seconds


class _Last(NamedTuple):
    """A meeting at its last sample of one step, with the totals that later counts start from."""

    level: int
    target: int
    lowest: int  # since then
    claims: int
    top_ups: int
    bookings: int
    chunk: int  # the chunk that was last written to; -1: none yet


_Lasts = tuple[int, _Last, _Last, _Last]  # since when the meeting is known (s), and per step

_NOTHING = Entry(0, 0)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Lasts).decode


class History:
    """The kept past of all meetings. Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, tallies: Tallies | None = None) -> None:
        self._redis = redis
        self._tallies = tallies
        self._locks = Locks(redis)
        self._taken = -1  # the last slot this process knows to be sampled

    # -- writing -------------------------------------------------------------------

    async def sample(
        self, levels: Sequence[Level], targets: Mapping[str, int], *, sweep_seconds: float
    ) -> bool:
        """Take a sample of these meetings, unless this slot has one. Return True if it was taken.

        `sweep_seconds` is the interval at which callers mean to call this. It takes four round
        trips when a slot begins, at most one otherwise. Any number may call it at once.
        """
        # Totals that cannot be read now are no zeros.
        levels = [level for level in levels if level.fence != "unreadable"]
        if not levels:
            return False
        now_seconds = levels[0].now_ms // 1000
        if now_seconds // _FINEST == self._taken:
            return False
        name = key_names.task_lock("history")
        async with self._locks.held(name, seconds=LOCK_SECONDS) as lock:
            if lock is None:
                return False
            with store_errors():
                return await self._sample(levels, targets, now_seconds, sweep_seconds)

    async def _sample(
        self,
        levels: Sequence[Level],
        targets: Mapping[str, int],
        now_seconds: int,
        sweep_seconds: float,
    ) -> bool:
        pipe = self._redis.pipeline(transaction=False)
        for span in STEPS:
            pipe.xrevrange(key_names.history_taken(span.step_seconds), count=1)
        pipe.hgetall(key_names.HISTORY_LAST)
        pipe.hgetall(key_names.HISTORY_DIPS)
        *heads, lasts, dips = await pipe.execute()
        slots = [now_seconds // span.step_seconds for span in STEPS]
        newest = [_newest(head) for head in heads]
        for place, span in enumerate(STEPS):
            if newest[place] > slots[place] + 1:
                # The clock was set far back: forget which slots were sampled, instead of waiting
                # for it to catch up.
                await self._redis.delete(key_names.history_taken(span.step_seconds))
                newest[place] = -1
        due = [slot > last for slot, last in zip(slots, newest, strict=True)]
        self._taken = slots[0]
        if not due[0]:
            return False
        changed: dict[Any, Any] = {}
        texts: list[tuple[str, str, Span]] = []
        flow: list[dict[str, int]] = [dict.fromkeys(FLOW, 0) for _ in STEPS]
        for level in levels:
            packed = lasts.get(level.sid.encode())
            before = _unpack(packed) if packed else None
            after = [min(before[0], now_seconds) if before else now_seconds]
            for place, span in enumerate(STEPS):
                last = before[place + 1] if before else None
                dip = int(dips.get(level.sid.encode(), level.fresh))
                now, entry = _step(level, targets[level.sid], last, due[place], dip)
                if entry is not None:
                    for name in FLOW:
                        flow[place][name] += getattr(entry, name)
                    step, slot = span.step_seconds, slots[place]
                    chunk = chunks.chunk_of(slot, step)
                    was = _before(last) if last and last.chunk != chunk else None
                    text = chunks.write(slot, step, entry, was)
                    texts.append((key_names.history(level.sid, step, chunk), text, span))
                    now = now._replace(chunk=chunk)
                after.append(now)
            if before != tuple(after):
                changed[level.sid] = _pack(after)
        pipe = self._redis.pipeline(transaction=False)
        if changed:
            # First, so that a crash in between loses a slot rather than counting it twice.
            pipe.hset(key_names.HISTORY_LAST, mapping=changed)
            if isinstance(self._redis, ClusterRedis):  # its masters run commands in no common order
                await run_each(pipe)
                pipe = self._redis.pipeline(transaction=False)
        for key, text, span in texts:
            pipe.append(key, text)
            pipe.expireat(key, now_seconds + chunks.kept_seconds(span))
        for span, slot, is_due in zip(STEPS, slots, due, strict=True):
            if is_due:
                pipe.xadd(
                    key_names.history_taken(span.step_seconds),
                    {"v": sweep_seconds},
                    id=f"{slot}-1",
                    minid=str(slot - chunks.looks_kept_seconds(span) // span.step_seconds),
                    approximate=True,
                )
        if dips:
            pipe.hdel(key_names.HISTORY_DIPS, *dips)
        await run_each(pipe)
        if self._tallies is not None:
            await self._tallies.sample(now_seconds, due, flow)
        return True

    async def note_dip(self, sid: str, level: int) -> None:
        """Note a level that a pool fell to, which no sweep may see. The next sample has it."""
        with store_errors():
            await self._redis.hset(key_names.HISTORY_DIPS, sid, str(level))

    # -- reading -------------------------------------------------------------------

    async def read(self, sid: str, span: Span, *, ago_seconds: int = 0) -> Series:
        """Return the history of one meeting, empty if it has none, in two round trips."""
        return (await self.read_all([sid], span, ago_seconds=ago_seconds))[0]

    async def read_all(
        self, sids: Sequence[str], span: Span, *, ago_seconds: int = 0
    ) -> list[Series]:
        """Return the histories of these meetings, in their order, by one pipeline after TIME.

        With `ago_seconds` they end that long ago. Samples that are no longer kept are missing.
        """
        if not sids:
            return []
        step = span.step_seconds
        with store_errors():
            begin, end, latest = await self._window(span, ago_seconds)
            # Up to the latest: a chunk says how things were before it, also where an earlier
            # one had nothing to say.
            numbers = range(chunks.chunk_of(begin, step), chunks.chunk_of(latest, step) + 1)
            pipe = self._redis.pipeline(transaction=False)
            _look_up_taken(pipe, step, begin, end, latest)
            pipe.hmget(key_names.HISTORY_LAST, list(sids))
            for sid in sids:
                pipe.mget([key_names.history(sid, step, chunk) for chunk in numbers])
            taken, taken_before, lasts, *found = await run_each(pipe, reads=True)
        looked, looked_before = _looked(taken or []), _newest(taken_before or [])
        lasts = lasts or [None] * len(sids)
        place = [each.step_seconds for each in STEPS].index(step) + 1
        series = []
        for sid, packed, texts in zip(sids, lasts, found, strict=True):
            samples: tuple[Sample, ...] = ()
            if packed is not None:
                last = _unpack(packed)
                known, entries = chunks.read(numbers, step, texts or [None] * len(numbers))
                if not entries:  # nothing has changed lately
                    known = _before(cast(_Last, last[place]))
                entries = {slot: entry for slot, entry in entries.items() if slot <= end}
                since = last[0] // step
                samples = tuple(
                    chunks.samples(span, begin, since, looked, looked_before, entries, known)
                )
            series.append(Series(sid, step, begin * step * 1000, (end + 1) * step * 1000, samples))
        return series

    async def taken(self, span: Span, *, ago_seconds: int = 0) -> Series:
        """Return when sweeps looked, as a series of samples without any levels and counts.

        With `ago_seconds` it ends that long ago.
        """
        step = span.step_seconds
        with store_errors():
            begin, end, latest = await self._window(span, ago_seconds)
            pipe = self._redis.pipeline(transaction=False)
            _look_up_taken(pipe, step, begin, end, latest)
            taken, before = await pipe.execute()
        samples = chunks.samples(span, begin, 0, _looked(taken), _newest(before), {}, Entry(0, 0))
        return Series("", step, begin * step * 1000, (end + 1) * step * 1000, tuple(samples))

    async def _window(self, span: Span, ago_seconds: int) -> tuple[int, int, int]:
        """Return the first and last slot of a span that ends so long ago, and the latest slot."""
        now_seconds, _ = await self._redis.time()
        latest = now_seconds // span.step_seconds
        end = latest - ago_seconds // span.step_seconds
        return end - span.seconds // span.step_seconds + 1, end, latest

    async def sparks(self, sids: Sequence[str], *, points: int = 30) -> dict[str, Spark]:
        """Return the last `points` slots of 10 s per meeting, by SID: one pipeline after TIME."""
        if not sids:
            return {}
        with store_errors():
            now_seconds, _ = await self._redis.time()
            end = now_seconds // _FINEST
            begin = end - points
            numbers = range(chunks.chunk_of(begin, _FINEST), chunks.chunk_of(end, _FINEST) + 1)
            pipe = self._redis.pipeline(transaction=False)
            pipe.xrange(key_names.history_taken(_FINEST), min=begin)
            for sid in sids:
                pipe.mget([key_names.history(sid, _FINEST, chunk) for chunk in numbers])
            taken, *found = await run_each(pipe, reads=True)
        looked = _looked(taken or [])
        # The slot that has just begun may have no sample yet; that is no gap.
        last = end if end in looked else end - 1
        window = range(last - points + 1, last + 1)
        sparks = {}
        for sid, texts in zip(sids, found, strict=True):
            _, entries = chunks.read(numbers, _FINEST, texts or [None] * len(numbers))
            samples = list(chunks.samples(Span.HOUR, begin, 0, looked, -1, entries, _NOTHING))
            sparks[sid] = Spark(
                sid,
                _per_slot(window, [(each, each.claims_per_second) for each in samples]),
                _per_slot(window, [(each, each.top_ups_per_second) for each in samples]),
            )
        return sparks


def _look_up_taken(pipe: Pipeline, step: int, begin: int, end: int, latest: int) -> None:
    """Ask for the slots that were sampled in a window, and for the last one before it."""
    until = "+" if end == latest else f"{end}-1"  # the latest one may still get its entry
    pipe.xrange(key_names.history_taken(step), min=begin, max=until)
    pipe.xrevrange(key_names.history_taken(step), max=begin - 1, count=1)


def _step(
    level: Level, target: int, last: _Last | None, due: bool, dip: int
) -> tuple[_Last, Entry | None]:
    """Return the new last sample, and the entry to write if a slot is due and anything changed."""
    totals = level.totals
    now = _Last(
        level.fresh, target, level.fresh,
        totals.claims, totals.top_ups, totals.bookings, last.chunk if last else -1,
    )  # fmt: skip
    if last is None:
        # What was claimed and made before the first sample counts in the next: a sample tells of
        # the time before it, and none was looked at before this one.
        return now._replace(claims=0, top_ups=0, bookings=0), None
    lowest = min(last.lowest, now.lowest, dip)
    if not due:
        return last._replace(lowest=lowest), None
    entry = Entry(
        now.level,
        now.target,
        chunks.grown(last.claims, now.claims),
        chunks.grown(last.top_ups, now.top_ups),
        chunks.grown(last.bookings, now.bookings),
        now.level - lowest,
    )
    return now, None if entry == _before(last) else entry


def _before(last: _Last) -> Entry:
    return Entry(last.level, last.target)


def _per_slot(window: range, values: Sequence[tuple[Sample, float]]) -> tuple[float | None, ...]:
    """Return one value per slot. A sample stands for all slots that it covers without a gap."""
    found: dict[int, float] = {}
    for sample, value in values:
        slot = sample.at_ms // 1000 // _FINEST
        reach = 1 if sample.after_gap else sample.covers_seconds // _FINEST
        found.update(dict.fromkeys(range(slot - reach + 1, slot + 1), value))
    return tuple(found.get(slot) for slot in window)


def _looked(entries: list[tuple[bytes, Any]]) -> dict[int, float]:
    return {_slot(entry): float(entry[1][b"v"]) for entry in entries}


def _slot(entry: tuple[bytes, Any]) -> int:
    return int(entry[0].split(b"-")[0])


def _newest(entries: list[tuple[bytes, Any]]) -> int:
    return _slot(entries[0]) if entries else -1
