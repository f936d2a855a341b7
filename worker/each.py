"""The same work for many meetings: one that fails is reported, and the others have their turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog

from pool.compose import Parts
from pool.errors import LedgerUnavailable, LinkpoolError, StoreUnavailable

log = structlog.get_logger()

# Meetings that fail one after the other because Redis or the ledger is away: then they are,
# and waiting for each of thousands would take every worker's time.
AWAY = 3


async def each(
    parts: Parts, task: str, sids: Iterable[str], work: Callable[[str], Awaitable[object]]
) -> list[str]:
    """Do the work for every meeting; return those that it failed for.

    Raises StoreUnavailable or LedgerUnavailable where that is what meeting after meeting meets.
    """
    failed: list[str] = []
    away = 0
    for sid in sids:
        try:
            await work(sid)
        except (StoreUnavailable, LedgerUnavailable) as error:
            report(parts, task, sid, error)
            failed.append(sid)
            away += 1
            if away >= AWAY:
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is that meeting's
            report(parts, task, sid, error)
            failed.append(sid)
            away = 0
        else:
            away = 0
    return failed


def report(parts: Parts, task: str, sid: str, error: Exception) -> None:
    """Count a meeting that a task failed for, and say why in the log."""
    parts.metrics.meeting_failures.labels(task, sid).inc()
    if isinstance(error, LinkpoolError):
        log.error("failed for a meeting", task=task, meeting=sid, reason=str(error))
    else:
        log.error("failed for a meeting", task=task, meeting=sid, exc_info=error)
