"""Summarise the service: one sentence on the pools, and tiles for worker, provider, ledger
and bookings.
"""

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

LAG_CLAIMS = 1_000  # more than the recorder has in progress
_INBOX = "/ops/inbox?state=unmatched"
_ASK_WORKER = "check that `linkpool worker` and `linkpool beat` are running"
_SAID = {
    "recovering": "recovering",
    "empty": "empty",
    "blocked": "blocked by the provider",
    "low": "low",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One part of the service: its state in a few words, and the details."""

    name: str
    level: Level
    words: str
    detail: str = ""
    url: str = ""


def lead(
    snapshot: Snapshot, found: Sequence[MeetingStatus], tiles: Sequence[Tile] = ()
) -> tuple[Level, str]:
    """Return the state of all pools as a level and a sentence.

    Where all pools are full, the sentence names the parts of the service that are broken.
    """
    if snapshot.store_problem:
        return "bad", "Redis does not answer, so the state of the pools is unknown"
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
            return "bad", f"{every} enough links now{paused}, but {' and '.join(broken)}"
        return "ok", f"{every} enough links{paused}"
    each = ", ".join(f"{counts[state]:,} {_SAID[state]}" for state in troubled)
    level: Level = "low" if troubled == ["low"] else "bad"
    return level, f"{count_words(len(found), 'pool')}: {each}{paused}"


def tiles(
    snapshot: Snapshot, lag_claims: int, sweep_seconds: float, *, everywhere: bool
) -> list[Tile]:
    """Return the tiles. Only keys for all meetings (`everywhere`) see unmatched bookings."""
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
    unknown = "unknown while Redis does not answer"
    ledger = snapshot.ledger
    return [
        Tile("Redis", "bad", "does not answer", snapshot.store_problem),
        Tile("Worker, provider", "unknown", unknown),
        Tile("Ledger", "bad", "does not answer", ledger.problem)
        if ledger.problem
        else Tile("Ledger", "ok", "answers", "how many claims wait is unknown"),
    ]


def _worker(snapshot: Snapshot, sweep_seconds: float) -> Tile:
    if snapshot.heartbeat_at_ms is None:
        return Tile("Worker", "bad", "has never swept", _ASK_WORKER)
    quiet_seconds = max(0.0, snapshot.at.timestamp() - snapshot.heartbeat_at_ms / 1000)
    ago = f"last sweep {duration_words(quiet_seconds)} ago"
    if quiet_seconds > 3 * sweep_seconds + 5:
        return Tile("Worker", "bad", "is not responding", f"{ago}; {_ASK_WORKER}")
    return Tile("Worker", "ok", "running", ago)


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
            "making links",
            f"budget {', '.join(rates[:2])}{more}" if rates else "no requests yet",
        )
    first = blocked[0]
    assert first.block is not None  # noqa: S101 - only blocked ones are listed
    since = duration_words(max(0.0, now.timestamp() - first.block.since_ms / 1000))
    again_seconds = first.block.probe_at_ms / 1000 - now.timestamp()
    again = f"next try in {duration_words(again_seconds)}" if again_seconds > 0 else "retrying now"
    others = f"; {len(blocked) - 1} more blocked" if len(blocked) > 1 else ""
    return Tile(
        "Provider",
        "bad",
        f"blocks workspace {first.name}",
        f"{first.block.reason}; for {since}, {again}{others}",
    )


def _ledger(snapshot: Snapshot, lag_claims: int) -> Tile:
    waiting = f"{count_words(lag_claims, 'claim')} waiting"
    if snapshot.ledger.problem:
        return Tile(
            "Ledger",
            "bad",
            "does not answer",
            f"{snapshot.ledger.problem}; claims are still answered, {waiting}",
        )
    if lag_claims > LAG_CLAIMS:
        return Tile("Ledger", "low", "behind", waiting)
    return Tile("Ledger", "ok", "up to date", waiting if lag_claims else "no claims waiting")


def _bookings(snapshot: Snapshot) -> Tile:
    unmatched = snapshot.ledger.unmatched
    if unmatched is None:
        return Tile("Bookings", "unknown", "unknown while the ledger does not answer")
    if unmatched:
        words = f"{unmatched:,} unmatched"
        return Tile("Bookings", "low", words, "Bookings we could not match to a link", _INBOX)
    return Tile("Bookings", "ok", "all matched")
