"""Finish erasing customers, and prune inbox and ledger: a part of task `expire`.

It looks at the present state, so a run may be missed, late, or happen twice at once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from pool.compose import Parts
from pool.errors import LinkpoolError
from worker.lapse import earlier_clock

log = structlog.get_logger()

_RUN_SECONDS = 10.0  # after that, the next run goes on
_PRUNE_SECONDS = 5.0
# After each batch it pauses for this many times as long as the batch took: nobody waits for a
# link to be pruned, while the recorder and the top-up need the ledger.
_PRUNE_REST = 2.0
_REWRITE_AFTER = timedelta(days=1)  # it costs Redis a fork
_REWRITTEN = "redis-file-rewritten"


async def erase(parts: Parts) -> None:
    """Take every step of erasing. Log a step that fails, and leave it to the next run."""
    for step in (finish_erasing, prune, prune_links, clean_file, rewrite_redis_file):
        try:
            await step(parts)
        except LinkpoolError as error:
            log.warning("not erased", step=step.__name__, reason=str(error))


async def finish_erasing(parts: Parts) -> int:
    """Erase the remaining data of forgotten customers. Return the number of finished links."""
    await parts.erasure.mark_events()
    return await parts.erasure.go_on()


async def prune(parts: Parts) -> None:
    """Remove from the inbox what was kept for long enough, a bounded number at a time."""
    days = parts.settings.inbox_retention_days
    done = await parts.ledger.retention.run(days, seconds=_RUN_SECONDS)
    if done.events or done.bodies:
        log.info("inbox pruned", events=done.events, bodies=done.bodies)


async def prune_links(parts: Parts) -> None:
    """Remove old links and their bookings from the ledger, a bounded number at a time."""
    days = parts.settings.ledger_retention_days
    if not days:
        return
    now = await earlier_clock(parts)
    done = await parts.pruner.run(
        now - timedelta(days=days), seconds=_PRUNE_SECONDS, rest=_PRUNE_REST
    )
    if done.links:
        log.info("ledger pruned", links=done.links, bookings=done.bookings)


async def clean_file(parts: Parts) -> bool:
    """Empty SQLite's write-ahead log, which still holds overwritten bytes.

    Return False if the file is in use, so that the log could not be emptied.
    """
    return await parts.ledger.erased.clean_file()


async def rewrite_redis_file(parts: Parts) -> bool:
    """Have Redis rewrite its append-only file after customers were erased, at most once a day.

    Until then the file holds what they sent with their claim, although no command can read it.
    Return True if Redis has begun to rewrite it.
    """
    erased_at = await parts.ledger.erased.last_at()
    last = await parts.ledger.facts.get(_REWRITTEN)
    rewritten_at = datetime.fromisoformat(last) if last else None
    now = datetime.now(UTC)
    if erased_at is None or (rewritten_at is not None and rewritten_at > erased_at):
        return False
    if rewritten_at is not None and now - _REWRITE_AFTER < rewritten_at <= now:
        return False
    done = await parts.store.erasing.rewrite_file()
    await parts.ledger.facts.put(_REWRITTEN, now.isoformat())
    return done
