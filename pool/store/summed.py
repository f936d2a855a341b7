"""Sum up the levels of a meeting's pools, for callers that look at the whole meeting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec import structs

from pool.model.meetings import Meeting
from pool.store.records import Fence, Level, Totals

# The worst comes first: a meeting is in the state of its worst pool.
_WORST: tuple[Fence, ...] = ("unreadable", "foreign", "fallen", "sealed", "stands")


@dataclass(frozen=True, slots=True)
class Looked:
    """Some meetings at one moment, in the order asked."""

    meetings: list[Level]  # of each meeting, summed up; its `sid` is the meeting's
    parts: list[Sequence[Level]]  # of each meeting's pools, in the order of their shards

    @property
    def pools(self) -> list[Level]:
        """Return the levels of all pools."""
        return [level for levels in self.parts for level in levels]


def looked_at(meetings: Iterable[Meeting]) -> list[str]:
    """Return the pools whose levels `summed` takes for these meetings, in this order.

    A meeting with several pools is also looked at under its SID, where the keys of the whole
    meeting are.
    """
    names: list[str] = []
    for meeting in meetings:
        if meeting.shards > 1:
            names.append(meeting.sid)
        names += meeting.pools
    return names


def summed(meetings: Iterable[Meeting], levels: Sequence[Level]) -> Looked:
    """Return what was looked at, from the levels of the pools that `looked_at` names."""
    each: list[Sequence[Level]] = []
    sums: list[Level] = []
    at = 0
    for meeting in meetings:
        if meeting.shards == 1:
            each.append(levels[at : at + 1])
            sums.append(levels[at])
            at += 1
            continue
        whole, parts = levels[at], levels[at + 1 : at + 1 + meeting.shards]
        at += 1 + meeting.shards
        each.append(parts)
        sums.append(_sum(whole, parts))
    return Looked(sums, each)


def _sum(whole: Level, parts: Sequence[Level]) -> Level:
    """Return the level of a meeting with several pools. `whole` is what stands under its SID."""
    if whole.fence == "unreadable":
        return whole
    worst = min(parts, key=lambda level: _WORST.index(level.fence))
    oldest = [each for level in parts if (each := level.oldest_fresh_seconds) is not None]
    return structs.replace(
        whole,
        fresh=sum(level.fresh for level in parts),
        fence=worst.fence,
        epoch=worst.epoch,
        backlog=whole.backlog + sum(level.backlog for level in parts),
        claims_per_second=sum(level.claims_per_second for level in parts),
        oldest_fresh_seconds=max(oldest, default=None),
        published=whole.published if all(_as(whole, level) for level in parts) else "",
        target=sum(level.target or 0 for level in parts),
        totals=Totals(
            *(
                sum(getattr(level.totals, name) for level in (whole, *parts))
                for name in ("claims", "top_ups", "bookings")
            )
        ),
        problem=worst.problem,
    )


def _as(whole: Level, level: Level) -> bool:
    return level.published == whole.published or level.fence == "unreadable"
