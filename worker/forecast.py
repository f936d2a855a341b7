"""Task `foresee`: forecast the claims of each meeting's hours from its history."""

from __future__ import annotations

from datetime import UTC, datetime

from pool.compose import Parts
from pool.model.forecast import HOUR_SECONDS, outlook
from pool.store import key_names
from pool.store.records import Series, Span

AT_ONCE = 500  # meetings per run: all of ten thousand within half an hour
LOCK_SECONDS = 30.0


async def foresee(parts: Parts) -> int:
    """Renew the outlooks made in an earlier hour, some per run. Return the number renewed."""
    hour = int(datetime.now(UTC).timestamp()) // HOUR_SECONDS
    async with parts.store.locks.held(key_names.task_lock("foresee"), seconds=LOCK_SECONDS) as lock:
        if lock is None:
            return 0
        sids = [meeting.sid for meeting in await parts.store.published.all()]
        known = await parts.store.outlooks.get(sids)
        stale = [sid for sid in sids if sid not in known or known[sid].first_hour < hour]
        # The oldest come first, so that all have their turn.
        stale.sort(key=lambda sid: known[sid].first_hour if sid in known else 0)
        past = await parts.store.history.read_all(stale[:AT_ONCE], Span.FIVE_WEEKS)
        await parts.store.outlooks.put(
            {series.sid: outlook(hour, hours_of(series)) for series in past}
        )
        return len(past)


def hours_of(series: Series) -> list[tuple[int, float]]:
    """Return pairs of an hour, counted since 1970, and its number of claims.

    A sample counts the claims of the hour before it. The first one is left out: it may be the
    meeting's first sample ever, which counts nothing.
    """
    return [
        (sample.at_ms // 1000 // HOUR_SECONDS - 1, float(sample.claims))
        for sample in series.samples[1:]
        if sample.covers_seconds == HOUR_SECONDS
    ]
