"""Task `foresee`: what each meeting's hours usually bring, from its kept past."""

from __future__ import annotations

from datetime import UTC, datetime

from pool.compose import Parts
from pool.model.forecast import HOUR_SECONDS, outlook
from pool.store import key_names
from pool.store.records import Series, Span

AT_ONCE = 500  # meetings per run: all of ten thousand within half an hour
LOCK_SECONDS = 30.0


async def foresee(parts: Parts) -> int:
    """Renews the outlooks that are of an earlier hour, some at a time; how many."""
    hour = int(datetime.now(UTC).timestamp()) // HOUR_SECONDS
    async with parts.store.locks.held(key_names.task_lock("foresee"), seconds=LOCK_SECONDS) as lock:
        if lock is None:
            return 0
        sids = [meeting.sid for meeting in await parts.store.published.all()]
        known = await parts.store.outlooks.get(sids)
        stale = [sid for sid in sids if sid not in known or known[sid].first_hour < hour]
        # Those that were looked at longest ago come first, so that all have their turn.
        stale.sort(key=lambda sid: known[sid].first_hour if sid in known else 0)
        past = await parts.store.history.read_all(stale[:AT_ONCE], Span.FIVE_WEEKS)
        await parts.store.outlooks.put(
            {series.sid: outlook(hour, hours_of(series)) for series in past}
        )
        return len(past)


def hours_of(series: Series) -> list[tuple[int, float]]:
    """Claims per hour since 1970: a sample of an hour counts what came in the one before.

    The first may be the meeting's first of all, which counts nothing.
    """
    return [
        (sample.at_ms // 1000 // HOUR_SECONDS - 1, float(sample.claims))
        for sample in series.samples[1:]
        if sample.covers_seconds == HOUR_SECONDS
    ]
