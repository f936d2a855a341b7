"""Task `reconcile`: asks the provider for bookings whose webhooks never came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from pool.compose import Parts
from pool.errors import ProviderError
from pool.store import keys

log = structlog.get_logger()

OVERLAP = timedelta(hours=1)  # clocks differ, and a booking may be listed late
FIRST_LOOK = timedelta(days=7)


async def reconcile(parts: Parts) -> int:
    """Takes missed bookings into the inbox and settles them; how many were news."""
    news = 0
    for workspace in parts.providers:
        async with parts.store.locks.held(keys.task_lock(f"reconcile:{workspace}")) as lock:
            if lock is not None and await parts.store.blocks.of_workspace(workspace) is None:
                try:
                    news += await _reconcile_one(parts, workspace)
                except ProviderError as error:
                    log.warning("not reconciled", workspace=workspace, reason=str(error))
    # What matched nothing may do so by now: its claim is recorded, its link's SID is known.
    await parts.ledger.inbox.reopen_unmatched(datetime.now(UTC) - timedelta(minutes=1), 100)
    while await parts.bookings.settle_due(100) == 100:
        pass
    return news


async def _reconcile_one(parts: Parts, workspace: str) -> int:
    fact = f"reconciled:{workspace}"
    started = datetime.now(UTC)
    last = await parts.ledger.facts.get(fact)
    # A last time that lies ahead was written before the clock was set back.
    since = min(datetime.fromisoformat(last), started) - OVERLAP if last else started - FIRST_LOOK
    news = 0
    async for page in parts.providers[workspace].bookings(since=since):
        for event, body in page:
            news += await parts.bookings.receive_listed(workspace, event, body)
        # Listing is not free either: it takes its turn in the budget.
        if not await parts.makers[workspace].wait_turn(within_seconds=5):
            return news
    await parts.ledger.facts.put(fact, started.isoformat())
    return news
