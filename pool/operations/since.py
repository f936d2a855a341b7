"""Find since when a pool has been in its state, from incidents and from its past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pool.model.incidents import Incident
from pool.model.times import from_ms
from pool.operations.status import LOW_RUNWAY_SECONDS, LOW_SHARE, MeetingStatus
from pool.store.records import Sample, Series


@dataclass(frozen=True, slots=True)
class Since:
    """The beginning of a state. `at_least`: it is older than everything that is known."""

    at: datetime
    at_least: bool = False


def since_of(
    status: MeetingStatus, standing: Incident | None, series: Series | None
) -> Since | None:
    """Return since when a pool has been in its state; None if nobody has noted it yet.

    How full a pool was follows from its history; what people and providers did, from incidents.
    """
    holds = _HOLDS.get(status.state)
    if holds is None or series is None:
        return Since(standing.began_at) if standing else None
    first: Sample | None = None
    for sample in reversed(series.samples):
        if not holds(sample):
            break
        first = sample
    if first is None:
        return None
    return Since(from_ms(first.at_ms), at_least=first is series.samples[0])


def _is_low(sample: Sample) -> bool:
    rate = sample.claims_per_second
    lasts = sample.level / rate if rate > 0 else LOW_RUNWAY_SECONDS
    return sample.level < sample.target * LOW_SHARE or lasts < LOW_RUNWAY_SECONDS


_HOLDS: dict[str, Callable[[Sample], bool]] = {
    "ok": lambda sample: not _is_low(sample),
    "low": _is_low,
    "empty": lambda sample: sample.level == 0,
}
