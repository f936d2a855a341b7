"""What stands above the pools: one sentence, and how worker, provider, ledger and bookings are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pool.operations.snapshot import Snapshot, WorkspaceHealth
from pool.operations.status import URGENCY, MeetingStatus
from pool.operations.words import count_words, duration_words

Level = Literal["ok", "low", "bad", "unknown"]

LAG_CLAIMS = 1_000  # more than this is not just what the recorder has in hand
_INBOX = "/ops/inbox?state=unmatched"
_ASK_WORKER = "is `linkpool worker` running, and `linkpool beat`?"
_SAID = {
    "recovering": "recovering",
    "empty": "empty",
    "blocked": "blocked by the provider",
    "low": "low",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One part of the service: how it is in a few words, and what that means."""

    name: str
    level: Level
    words: str
    detail: str = ""
    url: str = ""


def lead(
    snapshot: Snapshot, found: Sequence[MeetingStatus], tiles: Sequence[Tile] = ()
) -> tuple[Level, str]:
    """The state of all pools in one sentence; full ones are no comfort while a part is broken."""
    if snapshot.store_problem:
        return "bad", "Redis does not answer: nothing is known of the pools"
    if not found:
        return "ok", "No pools yet"
    counts = Counter(status.state for status in found)
    troubled = [state for state in URGENCY if state in _SAID and counts[state]]
    paused = f", {counts['paused']:,} paused" if counts["paused"] else ""
    if counts["paused"] == len(found):
        return "ok", "All pools are paused" if len(found) > 1 else "The pool is paused"
    if not troubled:
        every = "All pools have" if len(found) > 1 else "The pool has"
        broken = [f"the {tile.name.lower()} {tile.words}" for tile in tiles if tile.level == "bad"]
        if broken:
            return "bad", f"{every} enough links now{paused}; but {', '.join(broken)}"
        return "ok", f"{every} enough links{paused}"
    each = ", ".join(f"{counts[state]:,} {_SAID[state]}" for state in troubled)
    level: Level = "low" if troubled == ["low"] else "bad"
    return level, f"{each}{paused}, of {count_words(len(found), 'pool')}"


def tiles(
    snapshot: Snapshot, lag_claims: int, sweep_seconds: float, *, everywhere: bool
) -> list[Tile]:
    """The parts of the service; unmatched bookings only for keys that may see all meetings."""
    shown = [*_of_redis(snapshot, lag_claims, sweep_seconds)]
    if everywhere:
        shown.append(_bookings(snapshot))
    return shown


def _of_redis(snapshot: Snapshot, lag_claims: int, sweep_seconds: float) -> list[Tile]:
    if not snapshot.store_problem:
        return [
            _worker(snapshot, sweep_seconds),
            _provider(snapshot.workspaces, snapshot.at),
            _ledger(snapshot, lag_claims),
        ]
    unknown = "not known while Redis is away"
    ledger = snapshot.ledger
    return [
        Tile("Redis", "bad", "does not answer", snapshot.store_problem),
        Tile("Worker, provider", "unknown", unknown),
        Tile("Ledger", "bad", "does not answer", ledger.problem)
        if ledger.problem
        else Tile("Ledger", "ok", "answers", "how far it is behind is not known"),
    ]


def _worker(snapshot: Snapshot, sweep_seconds: float) -> Tile:
    if snapshot.heartbeat_at_ms is None:
        return Tile("Worker", "bad", "has never swept", _ASK_WORKER)
    quiet_seconds = max(0.0, snapshot.at.timestamp() - snapshot.heartbeat_at_ms / 1000)
    ago = f"last sweep {duration_words(quiet_seconds)} ago"
    if quiet_seconds > 3 * sweep_seconds + 5:
        return Tile("Worker", "bad", "is silent", f"{ago}; {_ASK_WORKER}")
    return Tile("Worker", "ok", "at work", ago)


def _provider(workspaces: Sequence[WorkspaceHealth], now: datetime) -> Tile:
    blocked = [each for each in workspaces if each.block is not None]
    if not blocked:
        rates = [
            f"{each.requests_per_second:.1f} requests/s"
            + (f" for {each.name}" if len(workspaces) > 1 else "")
            for each in workspaces
            if each.requests_per_second is not None
        ]
        more = f", and {len(rates) - 2} more workspaces" if len(rates) > 2 else ""
        return Tile(
            "Provider",
            "ok",
            "makes links",
            f"budget {', '.join(rates[:2])}{more}" if rates else "has not been asked yet",
        )
    first = blocked[0]
    assert first.block is not None  # noqa: S101 - only blocked ones are listed
    since = duration_words(max(0.0, now.timestamp() - first.block.since_ms / 1000))
    again_seconds = first.block.probe_at_ms / 1000 - now.timestamp()
    again = f"asked again in {duration_words(again_seconds)}" if again_seconds > 0 else "is probed"
    others = f"; {len(blocked) - 1} more blocked" if len(blocked) > 1 else ""
    return Tile(
        "Provider",
        "bad",
        f"{first.name} is blocked",
        f"{first.block.reason}; since {since}, {again}{others}",
    )


def _ledger(snapshot: Snapshot, lag_claims: int) -> Tile:
    waiting = f"{count_words(lag_claims, 'claim')} waiting"
    if snapshot.ledger.problem:
        return Tile(
            "Ledger",
            "bad",
            "does not answer",
            f"{snapshot.ledger.problem}; claims go on, {waiting}",
        )
    if lag_claims > LAG_CLAIMS:
        return Tile("Ledger", "low", "behind", waiting)
    return Tile("Ledger", "ok", "up to date", waiting if lag_claims else "no claims waiting")


def _bookings(snapshot: Snapshot) -> Tile:
    unmatched = snapshot.ledger.unmatched
    if unmatched is None:
        return Tile("Bookings", "unknown", "not known while the ledger is away")
    if unmatched:
        words = f"{unmatched:,} unmatched"
        return Tile("Bookings", "low", words, "booked, but on no link of ours", _INBOX)
    return Tile("Bookings", "ok", "all matched")
