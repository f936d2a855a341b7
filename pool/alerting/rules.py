"""Decide from the state of pools, ledger and workers which troubles operators hear about.

Each function checks for one kind of trouble and holds its thresholds. How long a trouble must
last before a notice is sent is defined in pool/model/troubles.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from pool.model.meetings import Meeting, runway_seconds
from pool.model.troubles import Kind, Reading, Sign
from pool.store.records import Block, Level

LOW_SECONDS, ENOUGH_SECONDS = 120.0, 300.0  # runway
LAG_CLAIMS, NO_LAG_CLAIMS = 1_000, 100
STUCK_SWEEPS, STUCK_LEAST_SECONDS = 6, 30.0


def pool_readings(
    meetings: Mapping[str, Meeting],
    levels: Sequence[Level],
    targets: Mapping[str, int],
    standing: Collection[str],
) -> Iterator[Reading]:
    """Yield the readings of all pools.

    Troubles that are not there are yielded only if they are in `standing`, the names of those
    that have not ended yet.
    """
    for level in levels:
        meeting, target = meetings[level.sid], targets[level.sid]
        for reading in (
            _empty(meeting, level, target),
            _low(meeting, level, target),
            _blocked(meeting, level),
        ):
            if reading.sign == "there" or reading.name in standing:
                yield reading


def _blocked(meeting: Meeting, level: Level) -> Reading:
    """Return a reading of whether the meeting gets no links until a person acts."""
    if level.fence == "unreadable":
        text = f"the keys of {level.sid} in Redis cannot be read: {level.problem}"
        return Reading(Kind.BLOCKED, level.sid, "there", text)
    block = level.block
    if meeting.closed_reason:
        block = Block(meeting.closed_reason, level.now_ms, level.now_ms)
    return blocked(level.sid, f"meeting {level.sid}", block)


def _empty(meeting: Meeting, level: Level, target: int) -> Reading:
    serves = level.fence == "stands" and not meeting.is_stopped
    sign: Sign = "between"
    if level.fresh == 0 and target > 0 and serves:
        sign = "there"
    elif meeting.is_stopped or level.fresh >= max(1, target / 2):
        sign = "over"
    text = f"the pool of {level.sid} is empty: links are made on the spot, or visitors get none"
    if sign == "over":
        text = f"the pool of {level.sid} has {level.fresh} of {target} fresh links again"
        text = f"{level.sid} is paused or closed" if meeting.is_stopped else text
    return Reading(Kind.EMPTY, level.sid, sign, text)


def _low(meeting: Meeting, level: Level, target: int) -> Reading:
    runway = runway_seconds(level.fresh, level.claims_per_second)
    sign: Sign = "between"
    capped = target >= meeting.max_fresh and meeting.is_capped(level.claims_per_second)
    full = level.fresh >= target and not capped
    if meeting.is_stopped or full or runway is None or runway > ENOUGH_SECONDS:
        sign = "over"
    elif runway < LOW_SECONDS and level.fresh > 0 and level.fence == "stands":
        sign = "there"  # an empty pool has its own notice
    text = f"the pool of {level.sid} has {level.fresh} of {target} fresh links"
    if runway is not None:
        rate = level.claims_per_second
        text += f"; at {rate:.1f} claims/s they last {runway:.0f} s"
    if sign == "there" and capped:
        text += f"; at most {meeting.max_fresh} is too small: this rate needs about "
        text += f"{meeting.wanted(level.claims_per_second)}"
    return Reading(Kind.LOW, level.sid, sign, text)


def blocked(about: str, name: str, block: Block | None) -> Reading:
    """Return a reading of whether the provider refuses a meeting or a workspace."""
    if block is None:
        return Reading(Kind.BLOCKED, about, "over", f"the provider makes links for {name} again")
    text = f"the provider makes no links for {name}: {block.reason}"
    return Reading(Kind.BLOCKED, about, "there", text)


def lag(claims: int) -> Reading:
    """Return a reading of whether the ledger falls behind."""
    sign: Sign = "between"
    if claims >= LAG_CLAIMS:
        sign = "there"
    elif claims <= NO_LAG_CLAIMS:
        sign = "over"
    return Reading(Kind.LAG, "", sign, f"{claims} claims are not in the ledger yet")


def unmatched(events: int) -> Reading:
    """Return a reading of whether unmatched bookings wait for a person."""
    text = f"{events} bookings match no link: `linkpool events list --state unmatched`"
    if not events:
        text = "every booking is matched to a link"
    return Reading(Kind.UNMATCHED, "", "there" if events else "over", text)


def dead(events: int) -> Reading:
    """Return a reading of whether some events could not be settled for good."""
    text = f"{events} events could not be settled: `linkpool events list --state dead`, then replay"
    if not events:
        text = "there are no dead events"
    return Reading(Kind.DEAD, "", "there" if events else "over", text)


def fence(levels: Sequence[Level], lately: bool) -> Reading:
    """Return a reading of whether Redis may have forgotten claims.

    `lately` says that a recovery has just cost a pool its fresh links. A pool without an epoch
    does not count, as it may be new; nor does a sealed one, as its data may be complete: if it
    is not, its recovery reports that through `lately`.
    """
    fallen = any(
        level.fence in ("fallen", "foreign")
        and level.epoch
        and not level.epoch.startswith("sealed:")
        for level in levels
    )
    if fallen or lately:
        text = "Redis may have forgotten claims; its pools are being recovered"
        return Reading(Kind.FENCE, "", "there", text)
    return Reading(Kind.FENCE, "", "over", "all pools serve again")


def worker(silent_seconds: float, sweep_seconds: float) -> Reading:
    """Return a reading of whether the workers have stopped sweeping."""
    sign: Sign = "between"
    if silent_seconds > max(STUCK_LEAST_SECONDS, STUCK_SWEEPS * sweep_seconds):
        sign = "there"
    elif silent_seconds < max(10.0, 2 * sweep_seconds):
        sign = "over"
    text = f"no worker has run for {silent_seconds:.0f} s: nothing is topped up or recorded"
    return Reading(Kind.WORKER, "", sign, "workers run again" if sign == "over" else text)
