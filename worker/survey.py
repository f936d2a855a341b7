"""Task `survey`: ask the provider which of our meetings are disabled or gone.

The links of such a meeting may be dead. From then on its pool hands out nothing, and claims get
the same answer as of a paused meeting; customers who hold a link still get it. Once the provider
takes bookings again, the old stock is retired, as nobody but the provider knows whether it still
works, and new links are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import structlog

from pool.compose import Parts
from pool.errors import ProviderError, is_away
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.providers import ProviderMeeting
from pool.store import key_names
from worker.each import report

log = structlog.get_logger()

DISABLED = "the provider says that this meeting is disabled; enable it there"
GONE = "the provider does not list this meeting any more; check there whether it was deleted"
PAGE = 100  # meetings that one request lists
TURN_SECONDS = 5.0
NOT_FOUND = "refused-404"  # pool.supply.blame.kind_of
_BATCH = 1_000


async def survey(parts: Parts) -> None:
    """Close and reopen the meetings of every workspace by what its provider lists.

    A workspace whose provider cannot be asked does not hold up the others.
    """
    everything = await parts.ledger.meetings.all()
    for workspace in parts.providers:
        ours = {each.sid: each for each in everything if each.workspace == workspace}
        async with parts.store.locks.held(key_names.task_lock(f"survey:{workspace}")) as lock:
            if lock is None or not ours:
                continue
            if await parts.store.blocks.of_workspace(workspace) is not None:
                continue  # top-up probes it
            try:
                await _survey_one(parts, workspace, ours)
            except ProviderError as error:
                log.warning("meetings not surveyed", workspace=workspace, reason=str(error))


async def _survey_one(parts: Parts, workspace: str, ours: Mapping[str, Meeting]) -> None:
    fact = f"listed:{workspace}"
    before = _listed_before(await parts.ledger.facts.get(fact))
    # Listing is not free either: each page needs a turn of the budget.
    for _ in range(1 + len(before) // PAGE):
        if not await parts.makers[workspace].wait_turn(within_seconds=TURN_SECONDS):
            return
    listed = {each.sid: each for each in await parts.providers[workspace].meetings()}
    looked = await parts.store.look_at([ours[sid] for sid in sorted(ours)])
    levels = {level.sid: level for level in looked.meetings}
    for sid, meeting in ours.items():
        block = levels[sid].block
        not_found = block is not None and block.kind == NOT_FOUND
        reason = _closed_reason(meeting, listed, sid in before, not_found)
        try:
            if reason:
                await close(parts, meeting, reason)
            elif meeting.closed_reason and sid in listed:
                await reopen(parts, meeting)
        except Exception as error:
            if is_away(error):
                raise
            report(parts, "survey", sid, error)
    now = sorted(sid for sid in ours if sid in listed)
    if set(now) != before:
        await parts.ledger.facts.put(fact, msgspec.json.encode(now).decode())


def _listed_before(fact: str | None) -> set[str]:
    return set(msgspec.json.decode(fact, type=list[str])) if fact else set()


def _closed_reason(
    meeting: Meeting, listed: Mapping[str, ProviderMeeting], was_listed: bool, not_found: bool
) -> str:
    """Return why the meeting must be closed, and an empty text if there is no reason.

    A missing entry alone proves little, since a key may not see all meetings. It proves something
    if the meeting was listed before, or if the provider answers that there is no such meeting.
    """
    there = listed.get(meeting.sid)
    if there is not None:
        return DISABLED if there.disabled else ""
    return GONE if listed and (was_listed or not_found) else ""


async def close(parts: Parts, meeting: Meeting, reason: str) -> None:
    """Stop the meeting's pool from handing out links. Doing it again changes nothing."""
    if await parts.ledger.meetings.close(meeting.sid, reason):
        log.error("meeting closed", meeting=meeting.sid, reason=reason)
        await parts.ledger.audit.add("linkpool", "close", meeting.sid, reason, {})
    await parts.store.published.put([replace(meeting, closed_reason=reason)])


async def reopen(parts: Parts, meeting: Meeting) -> None:
    """Retire the links made before, then let the meeting's pool serve again.

    In this order, a worker that dies in between leaves a closed meeting with less stock.
    """
    retired = 0
    for pool in meeting.pools:
        while slugs := await parts.store.stock.take_out(pool, up_to_ms=None, limit=_BATCH):
            await parts.ledger.links.move(slugs, State.RETIRED, at=datetime.now(UTC))
            retired += len(slugs)
    await parts.ledger.meetings.close(meeting.sid, "")
    await parts.store.published.put([replace(meeting, closed_reason="")])
    await parts.store.blocks.put(meeting.sid, None)
    await parts.ledger.audit.add("linkpool", "reopen", meeting.sid, "", {"retired": retired})
    log.info("meeting reopened", meeting=meeting.sid, retired=retired)
