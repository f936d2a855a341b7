"""Describe the state of a meeting's pool in the words operators use."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pool.durability.strangers import REASON
from pool.ledger import Ledger
from pool.model import forecast
from pool.model.forecast import NO_PAST, Forecast, Outlook
from pool.model.links import State
from pool.model.meetings import Meeting, runway_seconds
from pool.operations.words import about
from pool.store import Store
from pool.store.records import Block, Level

PoolState = Literal["ok", "low", "empty", "paused", "blocked", "recovering"]
# The effect on visitors. dry: they are turned away now; soon: they will be; stocked: none yet,
# though no links can be made; low: none yet; paused: turned away, as an operator wishes; ok: none.
Feel = Literal["dry", "soon", "stocked", "low", "paused", "ok"]
# The smaller the number, the sooner a person must act.
FEELS: dict[Feel, int] = {"dry": 0, "soon": 1, "stocked": 2, "low": 2, "paused": 3, "ok": 4}
# A pool that cannot be filled is more urgent than one that top-up is filling.
SOON_SECONDS, SOON_BLOCKED_SECONDS = 60.0, 300.0
LOW_SHARE = 0.5  # of the target
LOW_RUNWAY_SECONDS = 60.0
# The most urgent states come first.
URGENCY: dict[PoolState, int] = {
    "recovering": 0, "empty": 1, "blocked": 2, "low": 3, "paused": 4, "ok": 5,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MeetingStatus:
    """One meeting at one moment."""

    meeting: Meeting
    fresh: int
    target: int
    counts: Mapping[State, int]  # from the ledger; empty if it does not answer
    claims_per_second: float
    runway_seconds: float | None  # None without claims
    forecast: Forecast
    oldest_fresh_seconds: float | None
    unrecorded: int
    state: PoolState
    reason: str

    @property
    def feel(self) -> Feel:
        """Return the effect on visitors."""
        if self.state == "paused":
            return "paused"
        if self.state == "recovering":
            return "dry"
        if self.meeting.closed_reason:  # visitors are turned away, however many links there are
            return "dry" if self.claims_per_second > 0 else "stocked"
        if self.fresh == 0 and self.target > 0:
            # An empty pool without claims affects nobody yet.
            return "dry" if self.claims_per_second > 0 else "low"
        patience = SOON_BLOCKED_SECONDS if self.state == "blocked" else SOON_SECONDS
        runway = self.runway_seconds
        if self.state != "ok" and runway is not None and runway < patience:
            return "soon"
        if self.state == "blocked":
            return "stocked"
        return "low" if self.state in ("low", "empty") else "ok"

    @property
    def claimed(self) -> int:
        """Return how many links customers hold and have not booked."""
        return self.counts.get(State.CLAIMED, 0)

    @property
    def consumed(self) -> int:
        """Return how many links were booked and not cancelled since."""
        return self.counts.get(State.CONSUMED, 0)

    def facts(self) -> dict[str, Any]:
        """Return the meeting's settings and all that other programs read of its pool."""
        return asdict(self.meeting) | {
            "state": self.state,
            "reason": self.reason,
            "fresh": self.fresh,
            "target": self.target,
            "claimed": self.claimed,
            "consumed": self.consumed,
            "claims_per_second": round(self.claims_per_second, 3),
            "runway_seconds": self.runway_seconds,
            "runway_low_seconds": self.forecast.runway_low_seconds,
            "runway_high_seconds": self.forecast.runway_high_seconds,
            "suggested_target": self.forecast.suggested_target,
            "oldest_fresh_seconds": self.oldest_fresh_seconds,
            "unrecorded_claims": self.unrecorded,
        }


# Pools are ordered by how soon they run dry, in steps so coarse that the list stays still.
_RUNWAY_STEPS_SECONDS = (60.0, 300.0, 900.0, 3_600.0, 21_600.0)


def urgency(status: MeetingStatus) -> tuple[int, int, int, str]:
    """Return the sort key that puts the most urgent pools first.

    Those come first where visitors are turned away now, then those where they will be soon, and
    of these the ones with the shortest runway.
    """
    runway = status.runway_seconds
    feel = FEELS[status.feel]
    steps = len(_RUNWAY_STEPS_SECONDS)
    step = steps + 1 if runway is None else bisect(_RUNWAY_STEPS_SECONDS, runway)
    return feel, step, URGENCY[status.state], status.meeting.sid


async def statuses(
    store: Store, ledger: Ledger | None, meetings: list[Meeting]
) -> list[MeetingStatus]:
    """Return the statuses of these meetings, without counts if `ledger` is None.

    Raise StoreUnavailable or LedgerUnavailable.
    """
    levels = (await store.look_at(meetings)).meetings
    outlooks = await store.outlooks.get([meeting.sid for meeting in meetings])
    blocks = {
        name: await store.blocks.of_workspace(name)
        for name in {meeting.workspace for meeting in meetings}
    }
    # Only an empty pool may never have been filled, so only then Redis is asked for the heartbeat.
    without_worker = (
        any(not level.fresh for level in levels) and await store.last_heartbeat_ms() is None
    )
    counts: dict[str, dict[State, int]] = {}
    if ledger is not None:
        if len(meetings) == 1:
            counts = {meetings[0].sid: await ledger.counts.of(meetings[0].sid)}
        else:
            counts = await ledger.counts.all()
    return [
        _status(
            meeting,
            level,
            blocks[meeting.workspace],
            counts.get(meeting.sid, {}),
            outlooks.get(meeting.sid, NO_PAST),
            without_worker=without_worker,
        )
        for meeting, level in zip(meetings, levels, strict=True)
    ]


def _status(
    meeting: Meeting,
    level: Level,
    block: Block | None,
    counts: Mapping[State, int],
    outlook: Outlook,
    *,
    without_worker: bool,
) -> MeetingStatus:
    now_seconds = level.now_ms / 1000
    target = forecast.target(meeting, level.claims_per_second, now_seconds, outlook)
    runway = runway_seconds(level.fresh, level.claims_per_second)
    state, reason = _judge(meeting, level, level.block or block, target, runway)
    if without_worker and not level.fresh and state in ("recovering", "empty", "blocked"):
        reason = "no worker has ever run; start `linkpool worker` and `linkpool beat`"
    return MeetingStatus(
        meeting=meeting,
        fresh=level.fresh,
        target=target,
        counts=counts,
        claims_per_second=level.claims_per_second,
        runway_seconds=runway,
        forecast=forecast.forecast(
            meeting, level.fresh, level.claims_per_second, now_seconds, outlook
        ),
        oldest_fresh_seconds=level.oldest_fresh_seconds,
        unrecorded=level.backlog,
        state=state,
        reason=reason,
    )


def _judge(
    meeting: Meeting, level: Level, block: Block | None, target: int, runway: float | None
) -> tuple[PoolState, str]:
    if level.fence == "unreadable":
        return "blocked", f"its keys in Redis cannot be read: {level.problem}"
    if level.fence == "sealed":
        return "recovering", "sealed for a restart of Redis; `linkpool seal --undo` reverts this"
    if level.fence == "foreign":
        return "recovering", REASON
    if level.fence == "fallen" and not level.epoch and meeting.shards > 1:
        return "recovering", "its pools are being loaded from the ledger"
    if level.fence == "fallen":
        return "recovering", "Redis may have forgotten claims; the pool is being recovered"
    if meeting.paused:
        return "paused", meeting.pause_reason or "paused by an operator"
    if meeting.closed_reason:
        return "blocked", meeting.closed_reason
    if block is not None:
        return "blocked", block.reason
    rate = level.claims_per_second
    capped = ""
    if meeting.is_capped(rate):
        needs = about(meeting.wanted(rate))
        capped = f"at most {meeting.max_fresh:,} is too small: this rate needs about {needs:,}"
    if level.fresh == 0 and target > 0:
        return "empty", f"no fresh links; {capped or 'top-up is due'}"
    if runway is not None and runway < LOW_RUNWAY_SECONDS and capped:
        return "low", capped.capitalize()
    if runway is not None and runway < LOW_RUNWAY_SECONDS and level.fresh < target:
        return "low", f"lasts {runway:.0f} s at {level.claims_per_second:.1f} claims/s"
    if level.fresh < target * LOW_SHARE:
        return "low", f"{level.fresh:,} of {target:,} links"
    return "ok", ""
