"""Do one thing to several meetings, and report the outcome for each."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from pool.errors import LedgerError, LinkpoolError, NotInForceYet, is_away
from pool.model.meetings import Meeting
from pool.operations.administration import Administration
from pool.operations.status import MeetingStatus
from pool.operations.words import count_words

log = structlog.get_logger()

Act = Literal["pause", "resume", "top-up"]
ACTS: dict[str, Act] = {"pause": "pause", "resume": "resume", "top-up": "top-up"}
_AT_ONCE = 8  # each writes to the ledger a few times
_NAMED = 8  # meetings that a line names; of more it says how many
_DONE: dict[Act, str] = {
    "pause": "Paused", "resume": "Resumed", "top-up": "Top-up requested for",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one meeting. Both texts are empty if the act was done."""

    sid: str
    left: str = ""  # why nothing had to be done
    failed: str = ""


def needless(act: Act, status: MeetingStatus | None) -> str:
    """Return why this act would change nothing; empty if it would, or if that is not known."""
    if status is None:
        return ""
    if act == "pause" and status.meeting.paused:
        return "paused already"
    if act == "top-up" and status.meeting.paused:
        return "paused: resume first"
    stopped = status.meeting.is_stopped or status.state in ("paused", "blocked")
    if act == "resume" and not stopped:
        return "neither paused nor blocked"
    return ""


async def act_on_several(
    administration: Administration,
    act: Act,
    sids: Sequence[str],
    reason: str,
    actor: str,
    *,
    limited: bool,
    known: Mapping[str, MeetingStatus],
    changed: Callable[[Meeting], None],
) -> list[Outcome]:
    """Do this to each meeting, some at a time, and return the outcomes in their order.

    A meeting that fails does not stop the others. But once Redis or the ledger does not answer,
    which takes seconds to find out, the rest is not tried, since each would wait as long. `changed`
    is called with each meeting that was changed. Each has its own entry in the audit log, all with
    the same reason.
    """
    slots = asyncio.Semaphore(_AT_ONCE)
    away = ""

    async def one(sid: str) -> Outcome:
        nonlocal away
        if why := needless(act, known.get(sid)):
            return Outcome(sid, left=why)
        try:
            async with slots:
                if away:
                    return Outcome(sid, failed=away)
                changed(await _do(administration, act, sid, reason, actor, limited=limited))
        except LinkpoolError as error:
            cause = error.__cause__ if isinstance(error, NotInForceYet) else error
            if isinstance(cause, Exception) and is_away(cause):
                part = "the ledger" if isinstance(cause, LedgerError) else "Redis"
                away = f"not tried, since {part} does not answer"
            return Outcome(sid, failed=str(error))
        except Exception:
            log.exception("an action on several meetings failed", meeting=sid, action=act)
            return Outcome(sid, failed="an error inside linkpool; its log has the details")
        return Outcome(sid)

    return list(await asyncio.gather(*(one(sid) for sid in dict.fromkeys(sids))))


async def _do(
    administration: Administration, act: Act, sid: str, reason: str, actor: str, *, limited: bool
) -> Meeting:
    match act:
        case "pause":
            return await administration.pause(sid, reason, actor)
        case "resume":
            return await administration.resume(sid, reason, actor, limited=limited)
        case "top-up":
            return await administration.top_up(sid, reason, actor, limited=limited)


def outcome_words(act: Act, outcomes: Sequence[Outcome]) -> str:
    """Return in one line what was done, what was left as it was, and what failed and why."""
    done = [each.sid for each in outcomes if not each.left and not each.failed]
    words = [f"{_DONE[act]} {count_words(len(done), 'pool')}{_names(done)}."]
    for verb, found in (
        ("Left as they were", [(each.sid, each.left) for each in outcomes if each.left]),
        ("Failed", [(each.sid, each.failed) for each in outcomes if each.failed]),
    ):
        if found:
            groups = "; ".join(_groups(found))
            words.append(f"{verb}: {groups}.")
    return " ".join(words)


def _groups(found: Iterable[tuple[str, str]]) -> Iterable[str]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for sid, reason in found:
        by_reason[reason].append(sid)
    for reason, sids in by_reason.items():
        yield f"{_listed(sids)} ({reason})"


def _names(sids: Sequence[str]) -> str:
    return f": {_listed(sids)}" if sids else ""


def _listed(sids: Sequence[str]) -> str:
    more = len(sids) - _NAMED
    return ", ".join(sids[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
