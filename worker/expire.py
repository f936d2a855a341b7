"""Task `expire`: retire links that are too old to hand out, and set aside those gone astray."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

import structlog

from pool.compose import Parts
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.model.pools import pool_of_epoch
from pool.model.times import to_ms
from pool.store.records import Level
from worker.each import each
from worker.erase import erase
from worker.lapse import earlier_clock

log = structlog.get_logger()

# A link is in the ledger a moment before it is in the pool. After this time it should be there.
ASTRAY_SECONDS = 60
_LINKS_PER_STEP = 1_000


async def expire(parts: Parts) -> None:
    """Retire, set aside and withdraw links of every meeting. Every step may run again."""
    await erase(parts)
    await parts.recovery.former.clear()
    now = await earlier_clock(parts)
    meetings = {meeting.sid: meeting for meeting in await parts.ledger.meetings.all()}
    fresh = await parts.ledger.links.fresh_of(meetings)
    looked = await parts.store.look_at([meetings[sid] for sid in sorted(meetings)])
    levels = {level.sid: level for level in looked.meetings}
    pools = dict(zip(levels, looked.parts, strict=True))

    async def one(sid: str) -> None:
        level, known = levels[sid], fresh.get(sid, 0)
        # If one of several pools were closed, all of its links would look astray.
        if level.fence != "stands":
            return
        for pool in pools[sid]:
            await retire_old(parts, meetings[sid], pool, now)
        if known > level.fresh:
            await quarantine_astray(parts, sid, now)
        elif known < level.fresh:
            for name in meetings[sid].pools:
                await withdraw_strangers(parts, name)

    await each(parts, "expire", levels, one)


async def retire_old(parts: Parts, meeting: Meeting, level: Level, now: datetime) -> int:
    """Retire the links of a pool that are older than its meeting allows. Return their number."""
    if (level.oldest_fresh_seconds or 0) <= meeting.max_fresh_age_seconds:
        return 0
    up_to = now - timedelta(seconds=meeting.max_fresh_age_seconds)
    retired = 0
    while slugs := await parts.store.stock.take_out(
        level.sid, up_to_ms=to_ms(up_to), limit=_LINKS_PER_STEP
    ):
        await parts.ledger.links.move(slugs, State.RETIRED, at=now)
        retired += len(slugs)
    parts.outcomes.count(meeting.sid, "retired", retired)
    log.info("old links retired", meeting=meeting.sid, links=retired)
    return retired


async def quarantine_astray(parts: Parts, sid: str, now: datetime) -> int:
    """Quarantine links that are fresh in the ledger and not in their pool. Return their number.

    A claim of such a link may be on its way, so the stream is recorded first. A link that is
    still fresh and in no pool may be in a visitor's page: it is never added again.
    """
    await parts.recorder.record(sid)
    rows = await parts.ledger.links.fresh(
        sid, before=now - timedelta(seconds=ASTRAY_SECONDS), limit=10 * _LINKS_PER_STEP
    )
    astray = []
    for start in range(0, len(rows), _LINKS_PER_STEP):
        by_pool: dict[str, list[str]] = defaultdict(list)
        for row in rows[start : start + _LINKS_PER_STEP]:
            by_pool[pool_of_epoch(sid, row.epoch)].append(row.slug)
        for pool, slugs in by_pool.items():
            pooled = await parts.store.stock.pooled(pool, slugs)
            astray += [slug for slug, there in zip(slugs, pooled, strict=True) if not there]
    if astray:
        # Links claimed between the two looks are recorded now: the ledger moves none back.
        await parts.recorder.record(sid)
        moved = await parts.ledger.links.move(astray, State.QUARANTINED, at=now)
        if moved:
            parts.metrics.quarantined_links.inc(len(moved))
            parts.outcomes.count(sid, "quarantined", len(moved))
            log.warning("links went astray", meeting=sid, links=len(moved))
        return len(moved)
    return 0


async def withdraw_strangers(parts: Parts, pool: str) -> int:
    """Withdraw links from the pool that are not fresh in the ledger. Return their number.

    They entered by a call whose reply was lost, when Redis could not be reached again.
    """
    # The pool is read first: each of its links had its row before it entered.
    slugs = await parts.store.stock.oldest(pool, 10 * _LINKS_PER_STEP)
    fresh: set[str] = set()
    for start in range(0, len(slugs), _LINKS_PER_STEP):
        found = await parts.ledger.links.find(slugs[start : start + _LINKS_PER_STEP])
        fresh |= {link.slug for link in found if link.state is State.FRESH}
    strangers = [slug for slug in slugs if slug not in fresh]
    withdrawn = await parts.store.stock.withdraw(pool, strangers)
    if withdrawn:
        log.warning("strangers withdrawn from the pool", pool=pool, links=withdrawn)
    return withdrawn
