"""What each meeting's pool was like: 10 s apart for an hour, a minute for a day, an hour for
five weeks.

Samples are taken by sweeps, for all meetings at once and at most once per slot of 10 s,
and written only for meetings in which something changed; which slots were looked at is
kept once for all. Counts are differences of totals, so that a sweep that was missed, late,
or repeated loses and doubles nothing: the next sample covers a longer time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.store import keys
from pool.store.connect import store_errors
from pool.store.locks import Locks
from pool.store.records import Level, Sample, Series, Span, Spark

STEPS = (Span.HOUR, Span.DAY, Span.FIVE_WEEKS)  # what is kept, the finest first
LOCK_SECONDS = 10.0
_FINEST = STEPS[0].step_seconds

# level, target, lowest level since, and the totals of claims, top-ups and bookings then
_Last = tuple[int, int, int, int, int, int]
_Lasts = tuple[_Last, ...]  # one per step

_pack = msgspec.msgpack.Encoder().encode
_unpack_lasts = msgspec.msgpack.Decoder(_Lasts).decode
# level, target, lowest, claims, top-ups, bookings
_Entry = tuple[int, int, int, int, int, int]
_unpack_entry = msgspec.msgpack.Decoder(_Entry).decode
_NOTHING: _Entry = (0, 0, 0, 0, 0, 0)


class History:
    """The kept past of all meetings. Raises StoreUnavailable, as the store does."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._locks = Locks(redis)
        self._taken = -1  # the last slot this process knows to be sampled

    # -- writing -------------------------------------------------------------------

    async def sample(
        self, levels: Sequence[Level], targets: Mapping[str, int], *, sweep_seconds: float
    ) -> bool:
        """Takes a sample of these meetings, unless this slot has one; whether it did.

        `sweep_seconds` is how often somebody means to call this. Four round trips when a
        slot begins, none or one otherwise. Any number of callers at once do no harm.
        """
        if not levels:
            return False
        now_seconds = levels[0].now_ms // 1000
        if now_seconds // _FINEST == self._taken:
            return False
        name = keys.task_lock("history")
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
            pipe.xrevrange(keys.history_taken(span.step_seconds), count=1)
        pipe.hgetall(keys.HISTORY_LAST)
        *heads, lasts = await pipe.execute()
        slots = [now_seconds // span.step_seconds for span in STEPS]
        due = [slot > _newest(head) for slot, head in zip(slots, heads, strict=True)]
        self._taken = slots[0]
        if not due[0]:
            return False
        pipe = self._redis.pipeline(transaction=False)
        changed: dict[Any, Any] = {}
        for level in levels:
            packed = lasts.get(level.sid.encode())
            steady = _pack((_now(level, targets[level.sid]),) * len(STEPS))
            if packed == steady:
                continue
            before = _unpack_lasts(packed) if packed else None
            now = _now(level, targets[level.sid])
            if after := _append(pipe, level.sid, before, now, slots, due):
                changed[level.sid] = _pack(after)
        if changed:
            # First, so that a crash in between loses a slot rather than counting it twice.
            await self._redis.hset(keys.HISTORY_LAST, mapping=changed)
        for span, slot, is_due in zip(STEPS, slots, due, strict=True):
            if is_due:
                _add(pipe, keys.history_taken(span.step_seconds), span, slot, _pack(sweep_seconds))
        # A slot that has its entry already refuses another, which is as it should be.
        await pipe.execute(raise_on_error=False)
        return True

    # -- reading -------------------------------------------------------------------

    async def read(self, sid: str, span: Span) -> Series:
        """The history of one meeting; empty if it has none. Two round trips."""
        step = span.step_seconds
        with store_errors():
            now_seconds, _ = await self._redis.time()
            end = now_seconds // step
            begin = end - span.seconds // step + 1
            coarser = [each for each in STEPS if each.step_seconds >= step]
            pipe = self._redis.pipeline(transaction=False)
            pipe.xrange(keys.history_taken(step), min=begin)
            pipe.xrevrange(keys.history_taken(step), max=begin - 1, count=1)
            pipe.xrange(keys.history(sid, step), min=begin)
            for each in coarser:
                before = (begin * step - 1) // each.step_seconds
                pipe.xrevrange(keys.history(sid, each.step_seconds), max=before, count=1)
            taken, taken_before, entries, *earlier = await pipe.execute()
        # What is unchanged is not written: the level at the beginning is the last one written,
        # wherever that is still kept.
        known = next((_unpack_entry(entry[0][1][b"v"]) for entry in earlier if entry), None)
        samples = _samples(
            step,
            {_slot(entry): msgspec.msgpack.decode(entry[1][b"v"]) for entry in taken},
            _newest(taken_before),
            {_slot(entry): _unpack_entry(entry[1][b"v"]) for entry in entries},
            known,
        )
        return Series(sid, step, begin * step * 1000, (end + 1) * step * 1000, tuple(samples))

    async def sparks(self, sids: Sequence[str], *, points: int = 30) -> dict[str, Spark]:
        """The last `points` slots of 10 s of these meetings, by SID; one pipeline after TIME."""
        if not sids:
            return {}
        with store_errors():
            now_seconds, _ = await self._redis.time()
            end = now_seconds // _FINEST
            begin = end - points
            pipe = self._redis.pipeline(transaction=False)
            pipe.xrange(keys.history_taken(_FINEST), min=begin - points)
            for sid in sids:
                pipe.xrange(keys.history(sid, _FINEST), min=begin)
            taken, *found = await pipe.execute()
        looked = {_slot(entry): msgspec.msgpack.decode(entry[1][b"v"]) for entry in taken}
        # The slot that has just begun may have no sample yet; that is no gap.
        last = end if end in looked else end - 1
        window = range(last - points + 1, last + 1)
        sparks = {}
        for sid, entries in zip(sids, found, strict=True):
            changes = {_slot(entry): _unpack_entry(entry[1][b"v"]) for entry in entries}
            samples = list(_samples(_FINEST, looked, -1, changes, _NOTHING))
            sparks[sid] = Spark(
                sid,
                _per_slot(window, [(s, s.claims_per_second) for s in samples]),
                _per_slot(window, [(s, s.top_ups_per_second) for s in samples]),
            )
        return sparks


def _now(level: Level, target: int) -> _Last:
    totals = level.totals
    return (
        level.fresh, target, level.fresh, totals.claims, totals.top_ups, totals.bookings
    )  # fmt: skip


def _append(
    pipe: Any, sid: str, before: _Lasts | None, now: _Last, slots: list[int], due: list[bool]
) -> _Lasts:
    """Adds to the pipeline what this meeting's series get; what to compare with next time."""
    after = []
    for place, span in enumerate(STEPS):
        last = before[place] if before else None
        if not due[place] and last is not None:
            after.append((*last[:2], min(last[2], now[2]), *last[3:]))
            continue
        after.append(now)
        lowest = min(last[2], now[2]) if last else now[2]
        counts = _grown(last, now)
        # A meeting's first sample says how things are; what happened before is not known.
        if last is None or last[:2] != now[:2] or lowest < now[2] or any(counts):
            key = keys.history(sid, span.step_seconds)
            _add(pipe, key, span, slots[place], _pack((*now[:2], lowest, *counts)))
    return tuple(after)


def _grown(last: _Last | None, now: _Last) -> list[int]:
    """How much the totals grew; a total that fell was counted anew from 0."""
    if last is None:
        return [0, 0, 0]
    return [
        total - was if total >= was else total for was, total in zip(last[3:], now[3:], strict=True)
    ]


def _add(pipe: Any, key: str, span: Span, slot: int, value: bytes) -> None:
    kept = slot - span.seconds // span.step_seconds
    pipe.xadd(key, {"v": value}, id=f"{slot}-1", minid=f"{kept}", approximate=True)


def _samples(
    step: int,
    taken: Mapping[int, float],
    taken_before: int,
    changes: Mapping[int, _Entry],
    known: _Entry | None,
) -> Iterable[Sample]:
    """A sample for each slot that was looked at; what did not change is as it was."""
    previous = taken_before
    for slot in sorted(taken.keys() | changes.keys()):
        covers = (slot - previous) * step if previous >= 0 else step
        previous = slot
        if slot in changes:
            known = changes[slot]
            level, target, lowest, claims, top_ups, bookings = known
        elif known is not None:
            level, target = lowest, _ = known[:2]
            claims = top_ups = bookings = 0
        else:
            continue  # before the meeting's first sample
        yield Sample(
            at_ms=slot * step * 1000,
            level=level,
            lowest=lowest,
            target=target,
            claims=claims,
            top_ups=top_ups,
            bookings=bookings,
            covers_seconds=covers,
            after_gap=covers > max(1.5 * step, 2.5 * taken.get(slot, 0.0)),
        )


def _per_slot(window: range, values: Sequence[tuple[Sample, float]]) -> tuple[float | None, ...]:
    """One value per slot; a sample stands for all slots that it covers without a gap."""
    found: dict[int, float] = {}
    for sample, value in values:
        slot = sample.at_ms // 1000 // _FINEST
        reach = 1 if sample.after_gap else sample.covers_seconds // _FINEST
        found.update(dict.fromkeys(range(slot - reach + 1, slot + 1), value))
    return tuple(found.get(slot) for slot in window)


def _slot(entry: tuple[bytes, Any]) -> int:
    return int(entry[0].split(b"-")[0])


def _newest(entries: list[tuple[bytes, Any]]) -> int:
    return _slot(entries[0]) if entries else -1
