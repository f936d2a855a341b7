"""Describe each part of the service in a tile: worker, provider, ledger, bookings, visitors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pool.model.incidents import What
from pool.model.outcomes import Outcomes
from pool.operations.snapshot import Snapshot
from pool.operations.words import count_words, duration_words

Level = Literal["ok", "low", "bad", "unknown"]

IDLE_SECONDS = 5.0  # a provider that was last heard before is not said to be making links
LAG_CLAIMS = 1_000  # more than the recorder has in progress
_INBOX = "/ops/inbox?state=unmatched"
_HISTORY = "/ops/history"
_WORKSPACES = "/ops/workspaces"
_ASK_WORKER = "check that `linkpool worker` and `linkpool beat` are running"


@dataclass(frozen=True, slots=True)
class Tile:
    """One part of the service: its state in a few words, and the details."""

    name: str
    level: Level
    words: str
    detail: str = ""
    url: str = ""
    clause: str = ""  # the same within a sentence, where name and words do not make one

    @property
    def said(self) -> str:
        """Return what is so, as a clause of a sentence."""
        return self.clause or f"the {self.name.lower()} {self.words}"


def tiles_of(
    snapshot: Snapshot, lag_claims: int, sweep_seconds: float, *, everywhere: bool
) -> list[Tile]:
    """Return the tiles. Only keys for all meetings (`everywhere`) see unmatched bookings."""
    shown = [*_of_redis(snapshot, lag_claims, sweep_seconds)]
    if everywhere:
        shown.append(_bookings(snapshot))
    return shown


_WHY = {
    "empty": "pool empty",
    "paused": "paused",
    "recovering": "recovering",
    "limited": "too many at once",
    "error": "error",
}


def visitors(found: Outcomes | None) -> Tile:
    """Return the tile with the visitors of the last hour and their answers."""
    if found is None:
        return Tile("Visitors, last hour", "unknown", "unknown while Redis does not answer")
    got = f"{found['claims']:,} got a link"
    again = f"{found['reused']:,} their link again" if found["reused"] else ""
    if not found.turned_away:
        return Tile("Visitors, last hour", "ok", got, again or "nobody was turned away", _HISTORY)
    reasons = ", ".join(f"{count:,} {_WHY[name]}" for name, count in found.reasons)
    wished = found.turned_away == found["paused"]
    words = f"{found.turned_away:,} turned away"
    detail = f"{reasons}; {got}" + (f", {again}" if again else "")
    were = "visitor was" if found.turned_away == 1 else "visitors were"
    clause = f"{found.turned_away:,} {were} turned away in the last hour"
    level: Level = "ok" if wished else "bad"
    return Tile("Visitors, last hour", level, words, detail, _HISTORY, clause)


def _of_redis(snapshot: Snapshot, lag_claims: int, sweep_seconds: float) -> list[Tile]:
    if not snapshot.store_problem:
        return [
            _worker(snapshot, sweep_seconds),
            _provider(snapshot),
            _ledger(snapshot, lag_claims),
        ]
    unknown = "unknown while Redis does not answer"
    ledger = snapshot.ledger
    return [
        Tile("Redis", "bad", "does not answer", _why(snapshot.store_problem)),
        Tile("Worker, provider", "unknown", unknown),
        Tile("Ledger", "bad", "does not answer", _why(ledger.problem))
        if ledger.problem
        else Tile("Ledger", "ok", "answers", "how many claims wait is unknown"),
    ]


def _why(problem: str) -> str:
    """Return a problem without what the tile says anyway."""
    return problem.partition("does not answer")[2].removeprefix(": ") or (
        "" if problem.endswith("does not answer") else problem
    )


def _worker(snapshot: Snapshot, sweep_seconds: float) -> Tile:
    vitals = snapshot.vitals
    if vitals is not None and (trouble := vitals.trouble(What.WORKER)):
        silent = duration_words((vitals.at - trouble.since).total_seconds())
        return Tile("Worker", "bad", "is silent", f"last heard {silent} ago; {_ASK_WORKER}")
    if snapshot.heartbeat_at_ms is None:
        return Tile("Worker", "bad", "has never run", _ASK_WORKER)
    quiet_seconds = max(0.0, snapshot.at.timestamp() - snapshot.heartbeat_at_ms / 1000)
    ago = f"last run {duration_words(quiet_seconds)} ago"
    heard = vitals.heard if vitals else None
    if quiet_seconds > 3 * sweep_seconds + 5:
        if snapshot.ledger.problem and heard is not None and heard.speaking("worker"):
            return Tile("Worker", "bad", "waits for the ledger", ago)
        return Tile("Worker", "bad", "is not responding", f"{ago}; {_ASK_WORKER}")
    if heard is not None and (silent_processes := heard.silent("worker")):
        count = count_words(len(silent_processes), "process", "processes")
        return Tile("Worker", "low", f"{count} silent", "the others are running")
    return Tile("Worker", "ok", "running", ago)


def _provider(snapshot: Snapshot) -> Tile:
    workspaces, now = snapshot.workspaces, snapshot.at
    vitals = snapshot.vitals
    if vitals is not None and (trouble := vitals.trouble(What.PROVIDER)):
        silent = duration_words((vitals.at - trouble.since).total_seconds())
        return Tile(
            "Provider",
            "bad",
            "does not answer",
            f"no answer for {silent}; no links are made",
            f"{_WORKSPACES}/{trouble.about}",
        )
    blocked = [each for each in workspaces if each.block is not None]
    if not blocked:
        rates = [
            f"{each.requests_per_second:.1f} requests/s"
            + (f" for {each.name}" if len(workspaces) > 1 else "")
            for each in workspaces
            if each.requests_per_second is not None
        ]
        more = f", and {len(rates) - 2} more workspaces" if len(rates) > 2 else ""
        if snapshot.ledger.problem:
            return Tile("Provider", "unknown", "not asked", "no links are made without the ledger")
        if vitals is not None and vitals.trouble(What.WORKER):
            return Tile("Provider", "unknown", "not asked", "no worker is there to make links")
        answered = answered_seconds(snapshot)
        if answered is not None and answered > IDLE_SECONDS:
            ago = f"answered {duration_words(answered)} ago, not asked since"
            return Tile("Provider", "ok", "idle", ago)
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
        f"{_WORKSPACES}/{first.name}",
    )


def answered_seconds(snapshot: Snapshot, workspace: str = "") -> float | None:
    """Return how long ago a provider answered any process; None if that is not known.

    Without a workspace any provider counts.
    """
    if snapshot.store_problem:
        return None
    heard = snapshot.vitals.heard if snapshot.vitals else None
    if heard is None:
        return None
    ages = [
        calls.answered_seconds + each.age_seconds
        for each in heard.pulses
        for name, calls in each.pulse.calls.items()
        if calls.answered_seconds is not None and workspace in ("", name)
    ]
    return min(ages, default=None)


def _ledger(snapshot: Snapshot, lag_claims: int) -> Tile:
    waiting = f"{count_words(lag_claims, 'claim')} waiting"
    still = f"claims are still answered, {waiting}"
    if snapshot.ledger.problem:
        return Tile(
            "Ledger",
            "bad",
            "does not answer",
            "; ".join(filter(None, (_why(snapshot.ledger.problem), still))),
        )
    if lag_claims > LAG_CLAIMS:
        return Tile("Ledger", "low", "behind", waiting)
    if lag_claims:
        return Tile("Ledger", "ok", "answers", f"{waiting} to be recorded")
    return Tile("Ledger", "ok", "up to date", "no claims waiting")


def with_refused_webhooks(tile: Tile, found: Outcomes | None) -> Tile:
    """Return the bookings' tile with the webhooks that were refused in the last hour."""
    refused = found["bad_signature"] if found else 0
    if not refused:
        return tile
    said = f"{count_words(refused, 'webhook')} with a wrong signature in the last hour"
    if tile.level == "ok":
        detail = f"{said}; is the secret right?"
        clause = "webhooks are refused"
        return Tile(tile.name, "bad", "webhooks refused", detail, _INBOX, clause)
    return replace(tile, detail=f"{tile.detail}; {said}" if tile.detail else said)


def _bookings(snapshot: Snapshot) -> Tile:
    unmatched = snapshot.ledger.unmatched
    if unmatched is None:
        return Tile("Bookings", "unknown", "unknown while the ledger does not answer")
    if unmatched:
        words = f"{unmatched:,} unmatched"
        return Tile("Bookings", "low", words, "Bookings we could not match to a link", _INBOX)
    return Tile("Bookings", "ok", "all matched")
