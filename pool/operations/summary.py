"""Summarise the pools: in a sentence, and in the alarm that a browser's tab carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pool.model.incidents import What
from pool.operations.snapshot import Snapshot
from pool.operations.status import URGENCY, Feel, MeetingStatus, PoolState
from pool.operations.tiles import Level, Tile
from pool.operations.words import count_words, duration_words

_SAID = {
    "recovering": "recovering",
    "empty": "empty",
    "blocked": "blocked by the provider",
    "low": "low",
}
_SILENT = {
    What.REDIS: "Redis silent",
    What.WORKER: "worker silent",
    What.PROVIDER: "provider silent",
    What.LEDGER: "ledger silent",
}


def lead(
    snapshot: Snapshot, found: Sequence[MeetingStatus], tiles: Sequence[Tile] = ()
) -> tuple[Level, str]:
    """Return the state of all pools as a level and a sentence.

    Where all pools are full, the sentence names the parts of the service that are broken.
    """
    if snapshot.store_problem:
        return "bad", "Redis does not answer, so the state of the pools is unknown"
    if late := snapshot.late_seconds:
        return "bad", f"The pools were last read {duration_words(late)} ago: their numbers are old"
    if not found:
        return "ok", "No pools yet"
    counts = Counter(status.state for status in found)
    troubled = [state for state in URGENCY if state in _SAID and counts[state]]
    paused = f", {counts['paused']:,} paused" if counts["paused"] else ""
    if counts["paused"] == len(found):
        return "ok", "All pools are paused" if len(found) > 1 else "The pool is paused"
    if not troubled:
        every = "All pools have" if len(found) > 1 else "The pool has"
        broken = [tile.said for tile in tiles if tile.level == "bad"]
        if broken:
            return "bad", f"{every} enough links now{paused}, but {' and '.join(broken)}"
        return "ok", f"{every} enough links{paused}"
    each = ", ".join(_counted(state, found, counts[state]) for state in troubled)
    felt = {status.feel for status in found}
    hurts = felt & {"dry", "soon"} or {"empty", "recovering"} & set(troubled)
    return ("bad" if hurts else "low"), f"{count_words(len(found), 'pool')}: {each}{paused}"


def _counted(state: PoolState, found: Sequence[MeetingStatus], count: int) -> str:
    """Return how many pools are in a state, and how many of the blocked ones have no links."""
    if state == "blocked":
        stocked = [each for each in found if each.state == state and each.fresh]
        if len(stocked) == count:
            return f"{count:,} blocked but stocked"
        if stocked:
            return f"{count:,} blocked by the provider ({count - len(stocked):,} without links)"
    return f"{count:,} {_SAID[state]}"


@dataclass(frozen=True, slots=True)
class Alarm:
    """The warning in the tab's title and icon; empty while all is well."""

    level: Level
    words: str = ""


def alarm(snapshot: Snapshot, found: Sequence[MeetingStatus]) -> Alarm:
    """Return the alarm for a viewer of these pools. The effect on visitors comes first."""
    troubles = snapshot.vitals.troubles if snapshot.vitals else ()
    words = [_SILENT[each.what] for each in troubles if each.what is What.REDIS]
    words += ["old numbers"] if snapshot.late_seconds else []
    felt = Counter(each.feel for each in found)
    words += [f"{felt[feel]:,} {said}" for feel, said in _FELT if felt[feel]]
    words += [_SILENT[each.what] for each in troubles if each.what is not What.REDIS]
    if words:
        return Alarm("bad", ", ".join(words[:2]))
    if felt["stocked"] or felt["low"]:
        return Alarm("low", f"{felt['stocked'] + felt['low']:,} low or blocked")
    return Alarm("ok" if snapshot.is_read else "unknown")


_FELT: tuple[tuple[Feel, str], ...] = (("dry", "out of links"), ("soon", "almost out of links"))
