"""What is coming: a small model of a meeting's claim rate, and what its stock should be.

The rate at a later hour is what that hour of earlier days brought, plus how far the present
rate is from the usual one; that difference fades within the hour. Days count less the older
they are, and the same weekday counts more. Where there is no past, the present goes on.
docs/forecast.md shows how good that is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pool.model.meetings import LEAD_SECONDS, Meeting

HOUR_SECONDS = 3_600
HOURS = 24  # how far an outlook reaches
AHEAD_SECONDS = 3_600  # an automatic target looks for the busiest time within this
_FADE_SECONDS = 3_600.0  # in which a busier or quieter day than usual becomes usual
_RECENT_SECONDS = 60.0  # what the present rate is an average over: twice the decay time
_SIGMAS = 1.28  # of ten times, the range holds eight
_DAY_WEIGHT = 0.9  # of a day against the day after it
_WEEKDAY_WEIGHT = 5.0  # of the same weekday against any other
_UNSEEN_SHARE = 0.5  # how far off a rate may be that was seen but once


class Usual(NamedTuple):
    """What an hour usually brings, in claims, and by how much that differs from day to day."""

    claims: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is usual for a meeting in the hours that begin at `first_hour` (since 1970)."""

    first_hour: int
    hours: tuple[Usual, ...]  # HOURS of them; none where nothing is known

    def usual(self, hour: int) -> Usual | None:
        """The usual of an hour since 1970; past the end, that of the day before."""
        return self.hours[(hour - self.first_hour) % HOURS] if self.hours else None


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long a pool lasts, with the range that eight of ten times hold, and its target.

    Each runway is None where the stock outlasts a day.
    """

    runway_low_seconds: float | None
    runway_high_seconds: float | None
    suggested_target: int


NO_PAST = Outlook(0, ())


def outlook(first_hour: int, past: Iterable[tuple[int, float]]) -> Outlook:
    """The usual of the coming day, from what hours of the past brought: (hour, claims)."""
    days: dict[int, list[tuple[float, float]]] = {}
    for hour, claims in past:
        ahead = (hour - first_hour) % HOURS
        age = (first_hour + ahead - hour) // HOURS
        weight = _DAY_WEIGHT**age * (_WEEKDAY_WEIGHT if age % 7 == 0 else 1.0)
        days.setdefault(ahead, []).append((weight, claims))
    if not any(claims for seen in days.values() for _, claims in seen):
        return Outlook(first_hour, ())
    known = {ahead: _usual(seen) for ahead, seen in days.items()}
    # An hour that was never seen is like the one before it.
    hours: list[Usual] = []
    last = next(known[ahead] for ahead in range(HOURS - 1, -1, -1) if ahead in known)
    for ahead in range(HOURS):
        last = known.get(ahead, last)
        hours.append(last)
    return Outlook(first_hour, tuple(hours))


def _usual(seen: Sequence[tuple[float, float]]) -> Usual:
    total = sum(weight for weight, _ in seen)
    mean = sum(weight * claims for weight, claims in seen) / total
    variance = sum(weight * (claims - mean) ** 2 for weight, claims in seen) / total
    # Few days tell little about how days differ.
    unseen = (_UNSEEN_SHARE * mean) ** 2 / len(seen)
    return Usual(mean, math.sqrt(variance + unseen))


def forecast(
    meeting: Meeting, fresh: int, claims_per_second: float, now_seconds: float, seen: Outlook
) -> Forecast:
    """What is to be expected of this pool from now on."""
    curve = Curve(claims_per_second, now_seconds, seen)
    return Forecast(
        runway_low_seconds=curve.runway_seconds(fresh, _SIGMAS),
        runway_high_seconds=curve.runway_seconds(fresh, -_SIGMAS),
        suggested_target=_suggested(meeting, curve, now_seconds),
    )


def target(meeting: Meeting, claims_per_second: float, now_seconds: float, seen: Outlook) -> int:
    """How many fresh links this pool should hold now, as its settings want it decided."""
    if meeting.target_mode == "fixed":
        return meeting.target(claims_per_second)
    return _suggested(meeting, Curve(claims_per_second, now_seconds, seen), now_seconds)


def _suggested(meeting: Meeting, curve: Curve, now_seconds: float) -> int:
    """Enough for cover_seconds (and until top-up comes round) of the busiest time ahead."""
    cover = meeting.cover_seconds + LEAD_SECONDS
    to_next_hour = HOUR_SECONDS - now_seconds % HOUR_SECONDS
    # Within an hour the usual is one rate: the busiest time begins now or with an hour.
    starts = (0.0, min(to_next_hour, AHEAD_SECONDS))
    busiest = max(curve.claims(start, start + cover, _SIGMAS) for start in starts)
    return max(meeting.min_fresh, min(math.ceil(busiest), meeting.max_fresh))


class Curve:
    """The expected claims from now on; seconds count from now."""

    def __init__(self, claims_per_second: float, now_seconds: float, seen: Outlook) -> None:
        self._now = now_seconds
        self._seen = seen
        self._recent = claims_per_second
        usual = seen.usual(int(now_seconds // HOUR_SECONDS))
        self._apart = claims_per_second - usual.claims / HOUR_SECONDS if usual else 0.0

    def claims(self, start: float, end: float, sigmas: float = 0.0) -> float:
        """Claims between two moments; `sigmas` above what is expected, or below."""
        pieces = list(self._pieces(start, end))
        expected = sum(claims for _, claims, _ in pieces)
        deviation = sum(deviation for _, _, deviation in pieces)
        return _bounded(expected, deviation, sigmas)

    def runway_seconds(self, fresh: int, sigmas: float = 0.0) -> float | None:
        """When `fresh` links are gone; None if not within a day."""
        expected = deviation = begin = gone = 0.0
        for end, claims, differs in self._pieces(0.0, HOURS * HOUR_SECONDS):
            expected, deviation = expected + claims, deviation + differs
            by_then = _bounded(expected, deviation, sigmas)
            if by_then >= fresh and by_then > 0:
                share = (fresh - gone) / (by_then - gone) if by_then > gone else 1.0
                return begin + max(0.0, share) * (end - begin)
            begin, gone = end, by_then
        return None

    def _pieces(self, start: float, end: float) -> Iterator[tuple[float, float, float]]:
        """Stretches with one usual rate: where each ends, its claims and their deviation."""
        while start < end:
            hour = int((self._now + start) // HOUR_SECONDS)
            # Short stretches at first, while the present counts: runways of minutes are
            # found by going straight from one end of a stretch to the other.
            stop = min(end, (hour + 1) * HOUR_SECONDS - self._now, start + max(60.0, start))
            yield stop, *self._piece(hour, start, stop)
            start = stop

    def _piece(self, hour: int, start: float, stop: float) -> tuple[float, float]:
        seconds = stop - start
        # The share of the present in what is expected, times the seconds it counts.
        present = _FADE_SECONDS * (
            math.exp(-start / _FADE_SECONDS) - math.exp(-stop / _FADE_SECONDS)
        )
        noise = math.sqrt(max(self._recent, 1 / HOUR_SECONDS) / _RECENT_SECONDS)
        usual = self._seen.usual(hour)
        if usual is None:
            differs = noise + _UNSEEN_SHARE * self._recent * min(1.0, stop / HOUR_SECONDS)
            return self._recent * seconds, differs * seconds
        rate, deviation = usual.claims / HOUR_SECONDS, usual.deviation / HOUR_SECONDS
        return (
            max(0.0, rate * seconds + self._apart * present),
            noise * present + deviation * (seconds - present),
        )


def _bounded(expected: float, deviation: float, sigmas: float) -> float:
    """So many claims at least or at most: rates may be off, and claims come at random."""
    return max(0.0, expected + sigmas * math.hypot(deviation, math.sqrt(expected)))
