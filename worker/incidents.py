"""Keep the incidents that workers see: fences, blocks, pools that ran dry; and settle their cost.

Each sweep compares what stands in the ledger with how things are, so an incident whose beginning
or end was missed is noted at the next one. A failure is logged: the sweep must go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from pool.compose import Parts
from pool.errors import LinkpoolError
from pool.model.incidents import Incident, What
from pool.model.meetings import Meeting
from pool.model.outcomes import EVERYWHERE
from pool.model.times import from_ms
from pool.store.records import Block, Level

log = structlog.get_logger()

# Late counts of API processes have arrived by then.
SETTLE_SECONDS = 5.0
_UNSETTLED = timedelta(days=3)
_Name = tuple[What, str]
_OURS = (What.BLOCKED, What.DRY)


async def observe(
    parts: Parts,
    meetings: Mapping[str, Meeting],
    levels: Sequence[Level],
    targets: Mapping[str, int],
) -> None:
    """Note blocks and dry pools that began or ended, and the cost of older incidents."""
    try:
        now = datetime.now(UTC)
        blocks = {
            name: await parts.store.blocks.of_workspace(name) for name in parts.settings.workspaces
        }
        wanted = found(meetings, levels, targets, blocks, now)
        stood = {
            (each.what, each.about): each for each in await parts.ledger.incidents.standing(_OURS)
        }
        for name, incident in wanted.items():
            before = stood.get(name)
            if before is None or set(incident.sids or ()) - set(before.sids or ()):
                sids = _counted_sids(incident)
                baseline = (await parts.store.tallies.totals(sids)).turned_away
                await parts.ledger.incidents.begin(replace(incident, baseline=baseline))
        for what, about in stood.keys() - wanted.keys():
            await parts.ledger.incidents.end(what, about, now)
        await _settle(parts, now)
    except LinkpoolError as error:
        log.warning("incidents not noted", reason=str(error))


def found(
    meetings: Mapping[str, Meeting],
    levels: Sequence[Level],
    targets: Mapping[str, int],
    blocks: Mapping[str, Block | None],
    now: datetime,
) -> dict[_Name, Incident]:
    """Return the incidents that last, by name. Blocks with one reason are one incident."""
    standing: dict[_Name, Incident] = {}
    for workspace, block in blocks.items():
        if block is not None:
            sids = tuple(sid for sid, each in meetings.items() if each.workspace == workspace)
            _put(standing, What.BLOCKED, workspace, block.reason, from_ms(block.since_ms), sids)
    for level in levels:
        meeting = meetings[level.sid]
        if level.fence != "stands" or meeting.paused:
            continue
        if meeting.closed_reason:
            reason = meeting.closed_reason
            _put(standing, What.BLOCKED, reason, reason, now, (level.sid,))
        elif level.block is not None:
            reason = level.block.reason
            since = from_ms(level.block.since_ms)
            _put(standing, What.BLOCKED, reason, reason, since, (level.sid,))
        if level.fresh == 0 and targets[level.sid] > 0 and level.claims_per_second > 0:
            _put(standing, What.DRY, level.sid, "no fresh links", now, (level.sid,))
    return standing


def _put(
    standing: dict[_Name, Incident],
    what: What,
    about: str,
    text: str,
    since: datetime,
    sids: tuple[str, ...],
) -> None:
    before = standing.get((what, about))
    if before is not None:
        sids = (*(before.sids or ()), *sids)
        since = min(since, before.began_at)
    standing[what, about] = Incident(what, about, since, None, text, tuple(sorted(sids)))


async def note_fence(
    parts: Parts, began_at: datetime, costs: Mapping[str, int], baseline: int
) -> None:
    """Note one fence, over however many pools."""
    try:
        await parts.ledger.incidents.add(
            Incident(
                What.FENCE,
                "",
                began_at,
                datetime.now(UTC),
                "Redis may have forgotten claims",
                tuple(sorted(costs)),
                links_lost=sum(costs.values()),
                baseline=baseline,
            )
        )
    except LinkpoolError as error:
        log.warning("fence not noted", reason=str(error))


async def _settle(parts: Parts, now: datetime) -> None:
    """Note the cost of incidents that have just ended."""
    for each in await parts.ledger.incidents.unsettled(
        now - timedelta(seconds=SETTLE_SECONDS), now - _UNSETTLED
    ):
        total = (await parts.store.tallies.totals(_counted_sids(each))).turned_away
        baseline = each.baseline or 0
        # A total that fell was counted from 0 again.
        await parts.ledger.incidents.settle(
            each.id, each.turned_away + (total - baseline if total >= baseline else total)
        )


def _counted_sids(incident: Incident) -> list[str]:
    """Return the meetings whose visitors an incident turns away."""
    everybodys = incident.sids is None or incident.what is What.FENCE
    return [EVERYWHERE] if everybodys else list(incident.sids or ())
