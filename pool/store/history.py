"""Keep each meeting's past: every 10 s for an hour, each minute for a day, each hour for 5 weeks.

pool/store/samples.py writes it; this takes turns with other sweeps, and reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from pool.store import chunks, key_names
from pool.store.chunks import STEPS, Entry
from pool.store.connect import run_each, store_errors
from pool.store.locks import Locks
from pool.store.records import Level, Sample, Series, Span, Spark
from pool.store.samples import Last, entry_of, look, newest, slot_of, take_sample, unpack
from pool.store.tallies import Tallies

LOCK_SECONDS = 10.0
_FINEST = Span.HOUR.step_seconds


_NOTHING = Entry(0, 0)


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
                looked = await look(self._redis, now_seconds)
                self._taken = now_seconds // _FINEST
                if not looked.due[0]:
                    return False
                flow = await take_sample(
                    self._redis, looked, levels, targets, now_seconds, sweep_seconds
                )
                if self._tallies is not None:
                    await self._tallies.sample(now_seconds, looked.due, flow)
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
        looked, looked_before = _looked(taken or []), newest(taken_before or [])
        lasts = lasts or [None] * len(sids)
        place = [each.step_seconds for each in STEPS].index(step) + 1
        series = []
        for sid, packed, texts in zip(sids, lasts, found, strict=True):
            samples: tuple[Sample, ...] = ()
            if packed is not None:
                last = unpack(packed)
                known, entries = chunks.read(numbers, step, texts or [None] * len(numbers))
                if not entries:  # nothing has changed lately
                    known = entry_of(cast(Last, last[place]))
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
        samples = chunks.samples(span, begin, 0, _looked(taken), newest(before), {}, Entry(0, 0))
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


def _per_slot(window: range, values: Sequence[tuple[Sample, float]]) -> tuple[float | None, ...]:
    """Return one value per slot. A sample stands for all slots that it covers without a gap."""
    found: dict[int, float] = {}
    for sample, value in values:
        slot = sample.at_ms // 1000 // _FINEST
        reach = 1 if sample.after_gap else sample.covers_seconds // _FINEST
        found.update(dict.fromkeys(range(slot - reach + 1, slot + 1), value))
    return tuple(found.get(slot) for slot in window)


def _looked(entries: list[tuple[bytes, Any]]) -> dict[int, float]:
    return {slot_of(entry): float(entry[1][b"v"]) for entry in entries}
