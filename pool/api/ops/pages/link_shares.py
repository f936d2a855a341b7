"""Show counts of a meeting's links as bars: what became of them, and how old they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pool.model.links import State


@dataclass(frozen=True, slots=True)
class Share:
    """One bar of several: a count, and its length in percent of the longest."""

    label: str
    count: int
    percent: float
    words: str = ""


def withdrawn(counts: Mapping[State, int]) -> list[tuple[str, int]]:
    """Return how many links were shown or made for nothing, by state, without zeros."""
    return [
        (state.value, counts[state])
        for state in (State.LAPSED, State.RETIRED, State.QUARANTINED)
        if counts.get(state)
    ]


def funnel(counts: Mapping[State, int]) -> list[Share]:
    """Return how many links were claimed, how many of these booked, and of these cancelled."""
    cancelled = counts.get(State.CANCELLED, 0)
    booked = counts.get(State.CONSUMED, 0) + cancelled
    claimed = booked + counts.get(State.CLAIMED, 0) + counts.get(State.LAPSED, 0)

    def share(label: str, count: int, of: int, what: str) -> Share:
        words = f"{100 * count / of:.0f} % of those {what}" if of and what else ""
        return Share(label, count, round(100 * count / max(1, claimed), 1), words)

    return [
        share("Claimed", claimed, claimed, ""),
        share("Consumed", booked, claimed, "claimed"),
        share("Cancelled", cancelled, booked, "consumed"),
    ]


def shares(counted: Iterable[tuple[str, int]]) -> list[Share]:
    """Return counts beside each other, each with its length against the greatest."""
    pairs = list(counted)
    most = max((count for _, count in pairs), default=0) or 1
    return [Share(label, count, round(100 * count / most, 1)) for label, count in pairs]
