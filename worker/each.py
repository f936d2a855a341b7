"""Do the same work for many meetings: report one that fails, and go on with the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog

from pool.compose import Parts
from pool.errors import LinkpoolError, is_away
from pool.model.pools import sid_of

log = structlog.get_logger()

# After this many meetings in a row have failed because Redis or the ledger is away, it is away
# for all, and waiting for each of thousands would take every worker's time.
AWAY = 3


async def each(
    parts: Parts,
    task: str,
    sids: Iterable[str],
    work: Callable[[str], Awaitable[object]],
    *,
    prefix: str = "",
) -> list[str]:
    """Do the work for every meeting. Return the SIDs of those it failed for.

    For work by workspace, pass the workspaces' names, and the prefix `workspace ` for reports.
    Raise StoreUnavailable or LedgerUnavailable if many meetings in a row fail with it.
    """
    failed: list[str] = []
    away = 0
    for sid in sids:
        try:
            await work(sid)
        except Exception as error:
            report(parts, task, f"{prefix}{sid}", error)
            failed.append(sid)
            away = away + 1 if is_away(error) else 0
            if away >= AWAY:
                raise
        else:
            away = 0
    return failed


def report(parts: Parts, task: str, sid: str, error: Exception) -> None:
    """Count a meeting that a task failed for, and log the reason."""
    sid = sid_of(sid)  # a pool is reported as its meeting
    parts.metrics.meeting_failures.labels(task, sid).inc()
    if isinstance(error, LinkpoolError):
        log.error("failed for a meeting", task=task, meeting=sid, reason=str(error))
    else:
        log.error("failed for a meeting", task=task, meeting=sid, exc_info=error)
