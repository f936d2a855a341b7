"""Write a sample of all meetings, at most once per slot of 10 s.

Only those of meetings in which something changed are written; which slots were sampled is kept once
for all meetings. Counts are differences of totals, so that a sweep that was missed, late, or
repeated loses and doubles nothing: the next sample covers a longer time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from redis.asyncio import Redis

from pool.model.outcomes import FLOW
from pool.store import chunks, key_names
from pool.store.chunks import STEPS, Entry
from pool.store.cluster.client import ClusterRedis
from pool.store.connect import run_each
from pool.store.records import Level, Span


class Last(NamedTuple):
    """A meeting at its last sample of one step, with the totals that later counts start from."""

    level: int
    target: int
    lowest: int  # since then
    claims: int
    top_ups: int
    bookings: int
    chunk: int  # the chunk that was last written to; -1: none yet


_Lasts = tuple[int, Last, Last, Last]  # since when the meeting is known (s), and per step

_pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(_Lasts).decode

_Text = tuple[str, str, Span]  # a key, what is added to it, and the span it is kept for


class Looked(NamedTuple):
    """The samples of earlier sweeps, as one sweep finds them."""

    due: list[bool]  # True for each step whose slot has no sample yet
    lasts: dict[bytes, bytes]  # packed, by SID
    dips: dict[bytes, bytes]  # levels that no sweep saw, by SID


async def look(redis: Redis, now_seconds: int) -> Looked:
    """Return the samples of earlier sweeps."""
    pipe = redis.pipeline(transaction=False)
    for span in STEPS:
        pipe.xrevrange(key_names.history_taken(span.step_seconds), count=1)
    pipe.hgetall(key_names.HISTORY_LAST)
    pipe.hgetall(key_names.HISTORY_DIPS)
    *heads, lasts, dips = await pipe.execute()
    due = []
    for span, head in zip(STEPS, heads, strict=True):
        slot, last = now_seconds // span.step_seconds, newest(head)
        if last > slot + 1:
            # The clock was set far back: forget which slots were sampled, instead of waiting
            # for it to catch up.
            await redis.delete(key_names.history_taken(span.step_seconds))
            last = -1
        due.append(slot > last)
    return Looked(due, lasts, dips)


async def take_sample(
    redis: Redis,
    looked: Looked,
    levels: Sequence[Level],
    targets: Mapping[str, int],
    now_seconds: int,
    sweep_seconds: float,
) -> list[dict[str, int]]:
    """Write a sample of these meetings. Return what all of them did, per step."""
    changed: dict[Any, Any] = {}
    texts: list[_Text] = []
    flow: list[dict[str, int]] = [dict.fromkeys(FLOW, 0) for _ in STEPS]
    for level in levels:
        packed = looked.lasts.get(level.sid.encode())
        then = unpack(packed) if packed else None
        dip = int(looked.dips.get(level.sid.encode(), level.fresh))
        after = [min(then[0], now_seconds) if then else now_seconds]
        for place, span in enumerate(STEPS):
            last = cast(Last, then[place + 1]) if then else None
            now, entry = _step(level, targets[level.sid], last, looked.due[place], dip)
            if entry is not None:
                chunk, text = _text(level.sid, span, now_seconds, entry, last)
                texts.append(text)
                now = now._replace(chunk=chunk)
                for name in FLOW:
                    flow[place][name] += getattr(entry, name)
            after.append(now)
        if then != tuple(after):
            changed[level.sid] = _pack(after)
    await _write(redis, changed, texts, looked, now_seconds, sweep_seconds)
    return flow


def _text(
    sid: str, span: Span, now_seconds: int, entry: Entry, last: Last | None
) -> tuple[int, _Text]:
    """Return the chunk that an entry belongs to, and what is written there."""
    step = span.step_seconds
    slot = now_seconds // step
    chunk = chunks.chunk_of(slot, step)
    was = entry_of(last) if last and last.chunk != chunk else None
    return chunk, (key_names.history(sid, step, chunk), chunks.write(slot, step, entry, was), span)


async def _write(
    redis: Redis,
    changed: dict[Any, Any],
    texts: Sequence[_Text],
    looked: Looked,
    now_seconds: int,
    sweep_seconds: float,
) -> None:
    pipe = redis.pipeline(transaction=False)
    if changed:
        # First, so that a crash in between loses a slot rather than counting it twice.
        pipe.hset(key_names.HISTORY_LAST, mapping=changed)
        if isinstance(redis, ClusterRedis):  # its masters run commands in no common order
            await run_each(pipe)
            pipe = redis.pipeline(transaction=False)
    for key, text, span in texts:
        pipe.append(key, text)
        pipe.expireat(key, now_seconds + chunks.kept_seconds(span))
    for span, is_due in zip(STEPS, looked.due, strict=True):
        if is_due:
            step = span.step_seconds
            slot = now_seconds // step
            pipe.xadd(
                key_names.history_taken(step),
                {"v": sweep_seconds},
                id=f"{slot}-1",
                minid=str(slot - chunks.looks_kept_seconds(span) // step),
                approximate=True,
            )
    if looked.dips:
        pipe.hdel(key_names.HISTORY_DIPS, *looked.dips)
    await run_each(pipe)


def _step(
    level: Level, target: int, last: Last | None, due: bool, dip: int
) -> tuple[Last, Entry | None]:
    """Return the new last sample, and the entry to write if a slot is due and anything changed."""
    totals = level.totals
    now = Last(
        level.fresh, target, level.fresh,
        totals.claims, totals.top_ups, totals.bookings, last.chunk if last else -1,
    )  # fmt: skip
    if last is None:
        # What was claimed and made before the first sample counts in the next one: a sample covers
        # the time since the one before it, and there is none.
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
    return now, None if entry == entry_of(last) else entry


def entry_of(last: Last) -> Entry:
    """Return how things were, as an entry in which nothing happens."""
    return Entry(last.level, last.target)


def slot_of(entry: tuple[bytes, Any]) -> int:
    """Return the slot that an entry of the sampled ones is for."""
    return int(entry[0].split(b"-")[0])


def newest(entries: list[tuple[bytes, Any]]) -> int:
    """Return the slot of the first of these entries, -1 if there are none."""
    return slot_of(entries[0]) if entries else -1
