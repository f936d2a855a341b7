"""Task `keep`: bring the hours that are over from Redis to the ledger, where they stay 90 days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pool.compose import Parts
from pool.ledger.hours import Hour
from pool.model.outcomes import EVERYWHERE, FLOW, NAMES, Outcomes
from pool.model.times import from_ms
from pool.store import key_names
from pool.store.records import Sample, Span
from pool.store.tallies import Past

HOUR = timedelta(hours=1)
AT_ONCE = 500  # meetings read and written at a time
LOCK_SECONDS = 30.0
_PRUNE_HOUR = 3


async def keep(parts: Parts) -> int:
    """Keep the hours that are over and not in the ledger yet. Return the number of rows."""
    lock_name = key_names.task_lock("keep")
    async with parts.store.locks.held(lock_name, seconds=LOCK_SECONDS) as lock:
        if lock is None:
            return 0
        this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        newest = await parts.ledger.hours.newest()
        if newest is not None and newest >= this_hour - HOUR:
            return 0
        since = newest + HOUR if newest is not None else this_hour - timedelta(days=34)
        sids = [meeting.sid for meeting in await parts.store.published.all()]
        rows = 0
        # The rows of all meetings together are written last; they show that the others are
        # complete.
        everywhere: list[Hour] = []
        for start in range(0, len(sids), AT_ONCE):
            some = sids[start : start + AT_ONCE]
            series = await parts.store.history.read_all(some, Span.FIVE_WEEKS)
            pasts = await parts.store.tallies.past(some, Span.FIVE_WEEKS)
            found = [
                hour
                for one, past in zip(series, pasts, strict=True)
                for hour in hours_of(one.sid, one.samples, past)
                if since <= hour.began_at < this_hour
            ]
            everywhere += found
            kept = [hour for hour in found if any(hour.outcomes.counts.values())]
            await parts.ledger.hours.add(kept)
            rows += len(kept)
        [past] = await parts.store.tallies.past([EVERYWHERE], Span.FIVE_WEEKS)
        sums = list(summed(everywhere, past))
        await parts.ledger.hours.add(sums)
        if this_hour.hour == _PRUNE_HOUR or newest is None:
            await parts.ledger.hours.prune()
            await parts.ledger.incidents.prune()
        return rows + len(sums)


def hours_of(sid: str, samples: Sequence[Sample], past: Past) -> Iterator[Hour]:
    """Yield the hours of a meeting. A sample counts the hour before it."""
    counted = {each.at_ms: each.outcomes.counts for each in past.counted}
    for sample in samples:
        counts = dict(counted.get(sample.at_ms, {}))
        counts |= {name: getattr(sample, name) for name in FLOW}
        began_at = from_ms(sample.at_ms) - HOUR
        yield Hour(sid, began_at, sample.level, sample.lowest, sample.target, Outcomes(counts))


def summed(hours: Sequence[Hour], past: Past) -> Iterator[Hour]:
    """Yield the hours of all meetings together."""
    by_time: dict[datetime, list[Hour]] = {}
    for hour in hours:
        by_time.setdefault(hour.began_at, []).append(hour)
    counted: Mapping[datetime, Outcomes] = {
        from_ms(each.at_ms) - HOUR: each.outcomes for each in past.counted
    }
    for began_at, several in sorted(by_time.items()):
        counts = dict(counted.get(began_at, Outcomes({})).counts)
        for name in NAMES:
            found = sum(each.outcomes[name] for each in several)
            counts[name] = max(counts.get(name, 0), found)
        yield Hour(
            EVERYWHERE,
            began_at,
            sum(each.level for each in several),
            sum(each.lowest for each in several),
            sum(each.target for each in several),
            Outcomes(counts),
        )
