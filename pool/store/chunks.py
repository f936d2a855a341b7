"""Write a meeting's past: for each step, chunks of text with an entry per slot that changed.

An entry is `slot,level,target,claims,top-ups,bookings,dip;` with the slot counted from the
chunk's beginning, zeros left empty and commas at the end left out; the dip is how far below
the level the pool fell since the sample before. A chunk begins with how things were before it
(slot -1), so that it can be read alone. A stream would hold each entry as tightly, but takes
4 KiB however few there are; and a chunk expires by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pool.store.records import Sample, Span

STEPS = (Span.HOUR, Span.DAY, Span.FIVE_WEEKS)  # the steps that are kept, the finest first
_CHUNK_SECONDS = {Span.HOUR: 1_800, Span.DAY: 43_200, Span.FIVE_WEEKS: 7 * 86_400}
_PER_STEP = {span.step_seconds: _CHUNK_SECONDS[span] // span.step_seconds for span in STEPS}


class Entry(NamedTuple):
    """One meeting in one slot, and what happened since its sample before."""

    level: int
    target: int
    claims: int = 0
    top_ups: int = 0
    bookings: int = 0
    dip: int = 0


def chunk_of(slot: int, step_seconds: int) -> int:
    """Return the number of the chunk that holds a slot."""
    return slot // _PER_STEP[step_seconds]


def first_of(chunk: int, step_seconds: int) -> int:
    """Return the first slot of a chunk."""
    return chunk * _PER_STEP[step_seconds]


def place_of(slot: int, step_seconds: int) -> int:
    """Return the place of a slot in its chunk, counted from 0."""
    return slot % _PER_STEP[step_seconds]


def kept_seconds(span: Span) -> int:
    """Return how long a chunk is kept after its latest entry: until the window has passed it."""
    return span.seconds + _CHUNK_SECONDS[span]


def looks_kept_seconds(span: Span) -> int:
    """Return how long the list of sampled slots is kept.

    That is as long as the entries, so that pages can compare with the day or the week before. The
    finest step is never compared.
    """
    return span.seconds if span is Span.HOUR else kept_seconds(span)


def grown(was: int, total: int) -> int:
    """Return how much a total grew. If it fell, Redis began again at 0."""
    return total - was if total >= was else total


def write(slot: int, step_seconds: int, entry: Entry, before: Entry | None) -> str:
    """Return the text of an entry. `before` is given for the first one of a chunk."""
    text = _text(slot % _PER_STEP[step_seconds], entry)
    return text if before is None else _text(-1, Entry(before.level, before.target)) + text


def read(
    numbers: Sequence[int], step_seconds: int, texts: Sequence[bytes | None]
) -> tuple[Entry | None, dict[int, Entry]]:
    """Return how things were before the first of these chunks that exists, and entries by slot."""
    before = None
    entries: dict[int, Entry] = {}
    for number, text in zip(numbers, texts, strict=True):
        first = number * _PER_STEP[step_seconds]
        for written in (text or b"").decode().split(";")[:-1]:
            slot, *values = (int(value or 0) for value in written.split(","))
            if slot >= 0:
                entries[first + slot] = Entry(*values)
            elif not entries and before is None:
                before = Entry(*values)
    return before, entries


def _text(slot: int, entry: Entry) -> str:
    return ",".join(str(value or "") for value in entry).rstrip(",").join((f"{slot},", ";"))


def samples(
    span: Span,
    begin: int,
    since: int,
    taken: Mapping[int, float],
    taken_before: int,
    entries: Mapping[int, Entry],
    known: Entry | None,
) -> Iterator[Sample]:
    """Yield a sample for each slot that was sampled, from `begin` or `since`, the later one, on.

    `taken` are the slots that a sweep sampled, with the seconds between sweeps; `known` is how
    the meeting was before the first entry. A slot without an entry is as the one before it.
    """
    step = span.step_seconds
    previous = taken_before
    for slot in sorted(taken.keys() | entries.keys()):
        if slot < begin:
            known = entries[slot]
            continue
        covers = (slot - previous) * step if previous >= 0 else step
        previous = slot
        if slot in entries:
            known = now = entries[slot]
        elif known is not None:
            now = Entry(known.level, known.target)
        if known is None or slot < since:
            continue
        yield Sample(
            at_ms=slot * step * 1000,
            level=now.level,
            lowest=now.level - now.dip,
            target=now.target,
            claims=now.claims,
            top_ups=now.top_ups,
            bookings=now.bookings,
            covers_seconds=covers,
            after_gap=covers > max(1.5 * step, 2.5 * taken.get(slot, 0.0)),
        )
