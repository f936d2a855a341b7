"""Task `top_up`: fill every pool of a workspace up to its target."""

from __future__ import annotations

import structlog

from pool.compose import Parts
from pool.store import key_names
from pool.supply.link_maker import LinkMaker
from pool.supply.pool_writer import PoolWriter
from pool.supply.top_up import TopUp

log = structlog.get_logger()


async def top_up(parts: Parts, workspace: str) -> bool:
    """Top up all pools of a workspace, unless another worker is doing so.

    Return True if time was up while more links were wanted.
    """
    maker = parts.makers.get(workspace)
    if maker is None:
        log.error("workspace is not configured", workspace=workspace)
        return False
    if maker.patience.rests:
        return False
    await parts.ledger.ping()  # without it no link may be pooled, so none should be made
    async with parts.store.locks.held(key_names.top_up_lock(workspace)) as lock:
        return lock is not None and await prepare(parts, workspace, maker).run(lock)


def prepare(parts: Parts, workspace: str, maker: LinkMaker) -> TopUp:
    """Return a run of the loop that has not begun yet."""
    return TopUp(
        workspace,
        store=parts.store,
        ledger=parts.ledger,
        maker=maker,
        pool_writer=PoolWriter(parts.store, parts.ledger),
        provider_concurrency=parts.settings.provider_concurrency,
        probe_seconds=parts.settings.probe_seconds,
        counted=maker.counted,
    )
