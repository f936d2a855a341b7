"""Plan for which meetings the next links are made, so that none waits for ever. No I/O.

Most links go to the meeting that runs dry first. Every FAIR_EVERYth goes to the emptiest pool,
whatever its claim rate: otherwise a busy meeting could take the whole budget, and a meeting without
any claims yet would never get its first links. At most every PROBE_EVERYth probes a blocked
meeting, so that many of those cannot take the others' turns.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pool.model.meetings import Meeting
from pool.store.records import Block, Level

FAIR_EVERY = 4
PROBE_EVERY = 10


@dataclass(frozen=True, slots=True)
class Need:
    """One pool that is below its target."""

    sid: str  # of its meeting
    epoch: str
    fresh: int  # including those being made
    target: int
    claims_per_second: float
    probe: bool = False  # it is blocked, and one request may find out whether it still is
    shard: str = ""  # the pool's name, if it is one of several of its meeting

    @property
    def pool(self) -> str:
        """Return the pool's name."""
        return self.shard or self.sid

    @property
    def urgency(self) -> tuple[float, float]:
        """Return a sort key, smaller for more urgent: the runway, then how full the pool is."""
        runway = self.fresh / self.claims_per_second if self.claims_per_second > 0 else 1e12
        return runway, self.fresh / self.target

    @property
    def emptiness(self) -> tuple[float, float]:
        """Return a sort key, smaller for emptier pools, whatever their claim rate.

        It counts links first, so that all meetings get their first ones soon.
        """
        return self.fresh, self.fresh / self.target


def need_of(meeting: Meeting, level: Level, target: int, making: int) -> Need | None:
    """Return what a pool of the meeting wants while `making` links are under way, None if nothing.

    A blocked meeting wants one link, as a probe.
    """
    if meeting.is_stopped or level.fence != "stands":
        return None
    if level.fresh + making >= target or (level.block is not None and making):
        return None
    return Need(
        sid=meeting.sid,
        shard=level.sid if meeting.shards > 1 else "",
        epoch=level.epoch,
        fresh=level.fresh + making,
        target=target,
        claims_per_second=level.claims_per_second,
        probe=level.block is not None,
    )


def plan(needs: Sequence[Need], links: int) -> list[Need]:
    """Return the meetings to make the next links for, one entry per link, at most `links`.

    The order of equals is random: some of them may be refused, and those must not always come
    first. A need that is a probe appears once.
    """
    wanting = [need for need in needs if need.fresh < need.target]
    now = {need.pool: need for need in wanting}
    chance = {need.pool: random.random() for need in wanting}  # noqa: S311 - no secret
    urgent = [(need.urgency, chance[need.pool], need.fresh, need.pool) for need in wanting]
    empty = [(need.emptiness, chance[need.pool], need.fresh, need.pool) for need in wanting]
    heapq.heapify(urgent)
    heapq.heapify(empty)
    planned: list[Need] = []
    while now and len(planned) < links:
        heap = empty if len(planned) % FAIR_EVERY == FAIR_EVERY - 1 else urgent
        _, _, fresh, pool = heapq.heappop(heap)
        need = now.get(pool)
        if need is None or need.fresh != fresh:
            continue  # the other heap has served this pool since
        planned.append(need)
        filled = replace(need, fresh=fresh + 1)
        if filled.fresh >= filled.target or need.probe:
            del now[pool]
            continue
        now[pool] = filled
        heapq.heappush(urgent, (filled.urgency, chance[pool], filled.fresh, pool))
        heapq.heappush(empty, (filled.emptiness, chance[pool], filled.fresh, pool))
    return planned


def workspace_probe(needs: list[Need], block: Block) -> list[Need]:
    """Return the meeting that probes its blocked workspace, another one each time.

    It alternates between a meeting that is not blocked itself and any meeting. The list is empty if
    there is no need at all.
    """
    well = [need for need in needs if not need.probe]
    among = needs if block.probes % 2 or not well else well
    return [among[block.probes // 2 % len(among)]] if among else []


class Plan:
    """The links to make in turn, and the blocked meetings to probe, until the next look.

    Without links, all probes come at once, unless the look was not `exact`: then pools may want
    links that it did not find, and probes keep to their turns until another look.
    """

    def __init__(
        self, links: Sequence[Need] = (), probes: Sequence[Need] = (), *, exact: bool = True
    ) -> None:
        self.exact = exact  # no link was counted twice by the look
        self._links = deque(links)
        self._probes = deque(probes)
        self._since_probe = PROBE_EVERY
        self.lone = len({need.sid for need in links}) < 2  # nobody else waits for the slots

    def __bool__(self) -> bool:
        return bool(self._links or self._probes)

    @property
    def unsure(self) -> bool:
        """Return True if only probes are left, though pools may want links."""
        return not self.exact and not self._links and bool(self._probes)

    def follow(self, before: Plan) -> None:
        """Take over the rhythm of probes from an earlier plan, which this one replaces."""
        self._since_probe = before._since_probe

    def drop(self, sid: str) -> None:
        """Remove this meeting's links from the plan: it was refused."""
        self._links = deque(need for need in self._links if need.sid != sid)

    def drop_pool(self, pool: str) -> None:
        """Remove this pool's links from the plan: they do not enter it."""
        self._links = deque(need for need in self._links if need.pool != pool)

    def next(self, may_start: Callable[[Need], bool]) -> Need | None:
        """Take the next need that may start now. Return None if none may."""
        alone = self.exact and not self._links
        if self._probes and (alone or self._since_probe >= PROBE_EVERY):
            found = _take(self._probes, may_start)
            if found is not None:
                self._since_probe = 1
                return found
        found = _take(self._links, may_start)
        if found is not None:
            self._since_probe += 1
        return found


def _take(needs: deque[Need], may_start: Callable[[Need], bool]) -> Need | None:
    for place, need in enumerate(needs):
        if may_start(need):
            del needs[place]
            return need
    return None
