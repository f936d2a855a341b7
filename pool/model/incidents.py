"""Define an incident: what went wrong or was changed, from when to when, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

KEPT_DAYS = 90
# Two incidents of a kind this close together are one: a part that comes and goes is one trouble.
SAME_SECONDS = 30.0
_TOGETHER = timedelta(seconds=60)  # several pools within this time are one event to a person


class What(StrEnum):
    """A kind of incident."""

    FENCE = "fence"  # Redis may have forgotten claims, and pools were recovered
    BLOCKED = "blocked"  # the provider refuses a meeting or a workspace
    PROVIDER = "provider"  # the provider does not answer
    WORKER = "worker"  # no worker is at work
    REDIS = "redis"  # Redis does not answer
    LEDGER = "ledger"  # the ledger does not answer
    DRY = "dry"  # a pool ran dry
    PAUSE = "pause"  # a person paused a pool
    SETTINGS = "settings"  # a person changed a pool's settings


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident. `ended_at` is None while it lasts."""

    what: What
    about: str  # a SID, a workspace or nothing; with `what`, it names a trouble that lasts
    began_at: datetime
    ended_at: datetime | None
    text: str  # why, in a few words
    sids: tuple[str, ...] | None = None  # the meetings that it concerns; None: all
    links_lost: int = 0  # quarantined
    turned_away: int = 0  # visitors who got no link meanwhile
    # How many visitors of these meetings had been turned away in all when it began; None: not
    # known, or the cost is settled.
    baseline: int | None = None
    id: int = 0

    def concerns(self, sid: str) -> bool:
        """Return True if this meeting is among those it is about."""
        return self.sids is None or sid in self.sids

    def lasted_seconds(self, now: datetime) -> float:
        """Return how long it lasted, or has lasted so far."""
        return max(0.0, ((self.ended_at or now) - self.began_at).total_seconds())


def together(found: list[Incident]) -> list[Incident]:
    """Return the incidents in the same order, with what happened to several pools as one entry.

    A provider that goes silent empties many pools, and a person pauses many for one reason; that
    is one event to a person.
    """
    groups: list[list[Incident]] = []
    for each in found:
        if groups and _is_one(groups[-1][-1], each):
            groups[-1].append(each)
        else:
            groups.append([each])
    return [_one(group) for group in groups]


def _one(group: list[Incident]) -> Incident:
    if len(group) == 1:
        return group[0]
    ends = [each.ended_at for each in group if each.ended_at is not None]
    return replace(
        group[0],
        about="",
        began_at=min(each.began_at for each in group),
        ended_at=max(ends) if len(ends) == len(group) else None,
        sids=tuple(sorted({sid for each in group for sid in each.sids or ()})),
        turned_away=sum(each.turned_away for each in group),
    )


def _is_one(one: Incident, other: Incident) -> bool:
    if one.what is not other.what or abs(one.began_at - other.began_at) >= _TOGETHER:
        return False
    if one.what is What.DRY:
        return True
    stand = (one.ended_at is None, other.ended_at is None)
    return one.what in (What.PAUSE, What.SETTINGS) and one.text == other.text and len({*stand}) == 1
