"""Task `reconcile`: ask the provider for bookings whose webhooks never came."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog

from pool.bookings.reconcile import PASS_SECONDS, Reconciler
from pool.compose import Parts
from pool.errors import ProviderError
from pool.store import key_names
from worker.each import each

log = structlog.get_logger()

BATCH = 100
SETTLE_SECONDS = 10.0  # for the bookings found, and for events that matched nothing before


async def reconcile(parts: Parts) -> bool:
    """Take missed bookings into the inbox and settle them.

    Return True if there is more to ask for.
    """
    unfinished = False
    seconds = PASS_SECONDS / max(1, len(parts.providers))

    async def one(workspace: str) -> None:
        nonlocal unfinished
        async with parts.store.locks.held(key_names.task_lock(f"reconcile:{workspace}")) as lock:
            if lock is None or await parts.store.blocks.of_workspace(workspace) is not None:
                return
            provider, maker = parts.providers[workspace], parts.makers[workspace]
            reconciler = Reconciler(
                workspace, provider, maker, parts.store, parts.ledger, parts.bookings
            )
            try:
                done = await reconciler.run(seconds)
            except ProviderError as error:  # its own trouble, which top-up reports
                log.warning("not reconciled", workspace=workspace, reason=str(error))
                return
            # If the budget allowed no request, the next pass is early enough.
            unfinished |= not done and reconciler.pages > 0

    # By workspace, not by meeting: the provider lists the bookings of all its meetings.
    await each(parts, "reconcile", parts.providers, one, prefix="workspace ")
    await settle_again(parts)
    return unfinished


async def settle_again(parts: Parts) -> None:
    """Settle the bookings found, and the events that matched nothing before but may do so now."""
    until = time.monotonic() + SETTLE_SECONDS
    reopened = BATCH
    while time.monotonic() < until:
        if reopened:
            reopened = await parts.ledger.inbox.reopen_unmatched(datetime.now(UTC), BATCH)
        if await parts.bookings.settle_due(BATCH) < BATCH and not reopened:
            return
