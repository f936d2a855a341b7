"""Name the outcomes for visitors and links, in the order in which their counts are kept.

New names go to the end: kept counts are known by their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Visitors who asked and got no link.
TURNED_AWAY = ("empty", "paused", "recovering", "limited", "error")
# Links that were made for nothing.
WASTED = ("retired", "quarantined", "lapsed", "lost")
# Webhooks: of no meeting, so they are counted under their workspace: `webhooks_of`.
HOOKS = ("bad_signature",)
# What the sweep counts anyway, summed over all meetings.
FLOW = ("claims", "top_ups", "bookings")
NAMES = ("reused", *TURNED_AWAY, *WASTED, *HOOKS, *FLOW)
COUNTED = NAMES[: -len(FLOW)]
EVERYWHERE = "*"  # stands for all meetings in the place of a SID; no SID has this form

WORDS = {
    "reused": "got their link again",
    "empty": "found the pool empty",
    "paused": "found it paused",
    "recovering": "came during a recovery",
    "limited": "came too often",
    "error": "met an error",
    "retired": "retired",
    "quarantined": "quarantined",
    "lapsed": "lapsed",
    "lost": "lost",
    "bad_signature": "webhooks with a wrong signature",
}


def webhooks_of(workspace: str) -> str:
    """Return what stands for the webhooks of a workspace in the place of a SID."""
    return f"@{workspace}"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts of the outcomes for visitors and links, by name."""

    counts: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    @property
    def turned_away(self) -> int:
        """Return how many visitors got no link."""
        return sum(self[name] for name in TURNED_AWAY)

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Return why visitors were turned away, the commonest reason first."""
        found = [(name, self[name]) for name in TURNED_AWAY if self[name]]
        return sorted(found, key=lambda each: -each[1])


def added(several: Sequence[Outcomes]) -> Outcomes:
    """Return the sum of counts."""
    return Outcomes({name: sum(each[name] for each in several) for name in NAMES})
