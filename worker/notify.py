"""Task `notify`: send notices. Each sweep notes the troubles that cause them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from pool.alerting import rules
from pool.compose import Parts
from pool.errors import LinkpoolError
from pool.model.meetings import Meeting
from pool.model.times import to_ms
from pool.store.records import Level

log = structlog.get_logger()


async def observe(
    parts: Parts,
    meetings: Mapping[str, Meeting],
    levels: Sequence[Level],
    targets: Mapping[str, int],
) -> bool:
    """Note all troubles. Return True if notices are due.

    Log a failure instead of raising it: a sweep must go on.
    """
    if parts.notifier is None:
        return False
    try:
        now_ms = to_ms(datetime.now(UTC))
        outbox = await parts.store.alerts.look(now_ms)
        readings = [
            *rules.pool_readings(meetings, levels, targets, outbox.standing),
            rules.lag(sum(level.backlog for level in levels)),
            rules.unmatched(await parts.ledger.inbox.count("unmatched")),
            rules.dead(await parts.ledger.inbox.count("dead")),
            rules.fence(levels, outbox.fence_fell),
            rules.worker(0.0, parts.settings.sweep_seconds),
        ]
        for name in parts.settings.workspaces:
            block = await parts.store.blocks.of_workspace(name)
            readings.append(rules.blocked(f"workspace {name}", f"workspace {name}", block))
        return await parts.store.alerts.observe(outbox, readings, now_ms) > 0 or outbox.due
    except LinkpoolError as error:
        log.warning("troubles not noted", reason=str(error))
        return False


async def deliver(parts: Parts) -> int:
    """Send the notices that wait. Return their number."""
    return await parts.notifier.deliver() if parts.notifier else 0
