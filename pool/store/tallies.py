"""Count the outcomes for visitors and links, and keep the growth of the counts over time.

The counts are totals since Redis began. A sweep writes how much each grew in a slot, as
pool/store/history.py does with levels and in the same slots, so a count that was handed over
late counts later and is not lost. Text of a chunk: `slot,count,count,…;` with the counts in the
order of pool/model/outcomes.py, zeros left empty and commas at the end left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.model.outcomes import COUNTED, EVERYWHERE, NAMES, Outcomes
from pool.store import chunks, key_names
from pool.store.chunks import STEPS
from pool.store.connect import run_each, store_errors
from pool.store.records import Span

_KEPT = frozenset(COUNTED)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[dict[str, int]]).decode


class HandOver:
    """Counts of one process that are not in Redis yet: counting is an addition, without I/O.

    If a reply is lost, its counts are added twice. A process that is killed loses the counts since
    its last flush, a second or two.
    """

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, sid: str, name: str, count: int = 1) -> None:
        """Count an outcome for visitors or links. Other names are not kept."""
        if count and name in _KEPT:
            self._counts[sid, name] += count

    async def flush(self) -> None:
        """Hand over what was counted. Keep it, and raise StoreUnavailable, if that fails."""
        counts, self._counts = self._counts, Counter()
        try:
            await self._tallies.add(counts)
        except BaseException:
            self._counts.update(counts)
            raise


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of one slot."""

    at_ms: int  # the beginning of the slot
    outcomes: Outcomes


class Tallies:
    """Counts by meeting, and of all meetings. Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Add counts, by SID and name, to the totals of the meetings and of all meetings."""
        if not counts:
            return
        sums: dict[str, int] = defaultdict(int)
        pipe = self._redis.pipeline(transaction=True)  # all or nothing: a caller repeats it
        for (sid, name), count in counts.items():
            pipe.hincrby(key_names.TALLIES, key_names.tally(sid, name), count)
            if sid != EVERYWHERE:
                sums[name] += count
        for name, count in sums.items():
            pipe.hincrby(key_names.TALLIES, key_names.tally(EVERYWHERE, name), count)
        with store_errors():
            await pipe.execute()

    async def totals(self, sids: Sequence[str]) -> Outcomes:
        """Return the totals of these meetings together; `EVERYWHERE` stands for all."""
        if not sids:
            return Outcomes({})
        fields = [key_names.tally(sid, name) for sid in sids for name in NAMES]
        with store_errors():
            found: Any = await self._redis.hmget(key_names.TALLIES, fields)
        sums: dict[str, int] = defaultdict(int)
        for name, total in zip(NAMES * len(sids), found, strict=True):
            sums[name] += int(total or 0)
        return Outcomes(sums)

    # -- how they grew -------------------------------------------------------------

    async def sample(
        self, now_seconds: int, due: Sequence[bool], flow: Sequence[Mapping[str, int]]
    ) -> None:
        """Write how the totals grew since the last sample, for each step whose slot is due.

        `flow` is what the history's sample counted of all meetings, per step.
        """
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(key_names.TALLIES)
        pipe.hgetall(key_names.TALLIES_LAST)
        with store_errors():
            held, packed = await pipe.execute()
        totals = _by_sid(held)
        totals.setdefault(EVERYWHERE, {})
        lasts = {sid.decode(): _unpack(text) for sid, text in packed.items()}
        changed: dict[Any, Any] = {}
        pipe = self._redis.pipeline(transaction=False)
        for sid, now in totals.items():
            # It is not known when counts before the first sample were made. A meeting's first
            # counts must not be lost, so they belong to this slot.
            before = lasts.get(sid) or [{} for _ in STEPS]
            after = list(before)
            for place, span in enumerate(STEPS):
                if not due[place]:
                    continue
                grown = {name: chunks.grown(before[place].get(name, 0), now[name]) for name in now}
                if sid == EVERYWHERE:
                    grown |= flow[place]
                after[place] = now
                if text := _text(now_seconds // span.step_seconds, span, grown):
                    chunk = chunks.chunk_of(now_seconds // span.step_seconds, span.step_seconds)
                    key = key_names.tally_past(sid, span.step_seconds, chunk)
                    pipe.append(key, text)
                    pipe.expireat(key, now_seconds + chunks.kept_seconds(span))
            if after != before:
                changed[sid] = _pack(after)
        with store_errors():
            if changed:
                # First, so that a crash in between loses a slot rather than counting it twice.
                await self._redis.hset(key_names.TALLIES_LAST, mapping=changed)
            await run_each(pipe)

    async def past(
        self, sids: Sequence[str], span: Span, *, seconds: int = 0, ago_seconds: int = 0
    ) -> list[Past]:
        """Return what was counted in the slots of a span, or of its last `seconds`, per meeting.

        With `ago_seconds` it ends that long ago.
        """
        if not sids:
            return []
        step = span.step_seconds
        with store_errors():
            now_seconds, _ = await self._redis.time()
            end = (int(now_seconds) - ago_seconds) // step
            begin = end - (seconds or span.seconds) // step + 1
            numbers = range(chunks.chunk_of(begin, step), chunks.chunk_of(end, step) + 1)
            pipe = self._redis.pipeline(transaction=False)
            for sid in sids:
                pipe.mget([key_names.tally_past(sid, step, chunk) for chunk in numbers])
            found = await run_each(pipe, reads=True)
        return [
            Past(sid, step, tuple(_read(numbers, step, texts or (), begin, end)))
            for sid, texts in zip(sids, found, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Past:
    """The counts of one meeting, oldest first; slots without any count are left out."""

    sid: str
    step_seconds: int
    counted: tuple[Counted, ...]

    @property
    def sum(self) -> Outcomes:
        """Return the counts of all slots together."""
        sums: dict[str, int] = defaultdict(int)
        for each in self.counted:
            for name, count in each.outcomes.counts.items():
                sums[name] += count
        return Outcomes(sums)


def _by_sid(held: Mapping[bytes, bytes]) -> dict[str, dict[str, int]]:
    totals: dict[str, dict[str, int]] = defaultdict(dict)
    for field, total in held.items():
        sid, _, name = field.decode().partition(" ")
        if name in COUNTED:
            totals[sid][name] = int(total)
    return totals


def _text(slot: int, span: Span, counts: Mapping[str, int]) -> str:
    values = [counts.get(name, 0) for name in NAMES]
    if not any(values):
        return ""
    place = chunks.place_of(slot, span.step_seconds)
    return ",".join(str(value or "") for value in (place, *values)).rstrip(",") + ";"


def _read(
    numbers: Iterable[int], step: int, texts: Sequence[bytes | None], begin: int, end: int
) -> Iterable[Counted]:
    for number, text in zip(numbers, texts, strict=False):
        for written in (text or b"").decode().split(";")[:-1]:
            place, *values = (int(value or 0) for value in written.split(","))
            slot = chunks.first_of(number, step) + place
            if begin <= slot <= end:
                counts = {name: count for name, count in zip(NAMES, values, strict=False) if count}
                yield Counted(slot * step * 1000, Outcomes(counts))
