"""Forecast a meeting's claim rate, and the target for its pool.

The expected rate at a later hour is the average of that hour on earlier days, plus the
difference between the present rate and the usual one; that difference fades within the hour.
Older days count less, and the same weekday counts more. Without a history, the present rate is
expected to go on. docs/forecast.md shows how accurate this is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pool.model.meetings import LEAD_SECONDS, Meeting

HOUR_SECONDS = 3_600
HOURS = 24  # the length of an outlook
AHEAD_SECONDS = 3_600  # an automatic target covers the busiest time within this
_FADE_SECONDS = 3_600.0  # time constant with which a difference from the usual rate fades
_RECENT_SECONDS = 60.0  # the present rate is an average over this: twice its decay time
_SIGMAS = 1.28  # the true value lies in the range in eight of ten cases
_DAY_WEIGHT = 0.9  # of a day relative to the day after it
_WEEKDAY_WEIGHT = 5.0  # of the same weekday relative to any other
_UNSEEN_SHARE = 0.5  # the relative error of a rate that was seen only once


class Usual(NamedTuple):
    """The usual claims of one hour, and their standard deviation between days."""

    claims: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """The usual claims of a meeting in the hours from `first_hour` (hours since 1970)."""

    first_hour: int
    hours: tuple[Usual, ...]  # HOURS of them; empty if nothing is known

    def usual(self, hour: int) -> Usual | None:
        """Return the usual claims of an hour (since 1970), None if nothing is known.

        After the end of the outlook, the same hour of the day before counts.
        """
        return self.hours[(hour - self.first_hour) % HOURS] if self.hours else None


@dataclass(frozen=True, slots=True)
class Forecast:
    """A pool's runway, as a range that holds in eight of ten cases, and its suggested target.

    A runway is None if the stock lasts more than a day. `needed` is the suggested target before it
    is limited to min_fresh and max_fresh. It is for the busiest time of the next hour, which begins
    in `busiest_in_seconds`.
    """

    runway_low_seconds: float | None
    runway_high_seconds: float | None
    suggested_target: int
    needed: int = 0
    busiest_in_seconds: float = 0.0
    has_past: bool = False  # False: the present rate is expected to go on


NO_PAST = Outlook(0, ())


def outlook(first_hour: int, past: Iterable[tuple[int, float]]) -> Outlook:
    """Return the outlook for the coming day from past hours, given as (hour, claims)."""
    days: dict[int, list[tuple[float, float]]] = {}
    for hour, claims in past:
        ahead = (hour - first_hour) % HOURS
        age = (first_hour + ahead - hour) // HOURS
        weight = _DAY_WEIGHT**age * (_WEEKDAY_WEIGHT if age % 7 == 0 else 1.0)
        days.setdefault(ahead, []).append((weight, claims))
    if not any(claims for seen in days.values() for _, claims in seen):
        return Outlook(first_hour, ())
    known = {ahead: _usual(seen) for ahead, seen in days.items()}
    # An hour without history is taken to be like the one before it.
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
    # From few days little is known of how days differ.
    unseen = (_UNSEEN_SHARE * mean) ** 2 / len(seen)
    return Usual(mean, math.sqrt(variance + unseen))


def forecast(
    meeting: Meeting, fresh: int, claims_per_second: float, now_seconds: float, seen: Outlook
) -> Forecast:
    """Return the forecast of this pool from now on."""
    curve = Curve(claims_per_second, now_seconds, seen)
    busiest_in_seconds, needed = _busiest(meeting, curve, now_seconds)
    return Forecast(
        runway_low_seconds=curve.runway_seconds(fresh, _SIGMAS),
        runway_high_seconds=curve.runway_seconds(fresh, -_SIGMAS),
        suggested_target=_kept_within(meeting, needed),
        needed=needed,
        busiest_in_seconds=busiest_in_seconds,
        has_past=bool(seen.hours),
    )


def target(meeting: Meeting, claims_per_second: float, now_seconds: float, seen: Outlook) -> int:
    """Return how many fresh links this pool should hold now, by its target mode."""
    if meeting.target_mode == "fixed":
        return meeting.target(claims_per_second)
    curve = Curve(claims_per_second, now_seconds, seen)
    return _kept_within(meeting, _busiest(meeting, curve, now_seconds)[1])


def _busiest(meeting: Meeting, curve: Curve, now_seconds: float) -> tuple[float, int]:
    """Return when the busiest time ahead begins, in seconds from now, and the links it takes.

    They are enough for cover_seconds plus LEAD_SECONDS of it.
    """
    cover = meeting.cover_seconds + LEAD_SECONDS
    to_next_hour = HOUR_SECONDS - now_seconds % HOUR_SECONDS
    # The usual rate is constant within an hour: the busiest time begins now or on the hour.
    starts = (0.0, min(to_next_hour, AHEAD_SECONDS))
    claims, start = max((curve.claims(start, start + cover, _SIGMAS), -start) for start in starts)
    return -start, math.ceil(claims)


def _kept_within(meeting: Meeting, links: int) -> int:
    return max(meeting.min_fresh, min(links, meeting.max_fresh))


class Curve:
    """The expected claims from now on; seconds count from now."""

    def __init__(self, claims_per_second: float, now_seconds: float, seen: Outlook) -> None:
        self._now = now_seconds
        self._seen = seen
        self._recent = claims_per_second
        usual = seen.usual(int(now_seconds // HOUR_SECONDS))
        self._apart = claims_per_second - usual.claims / HOUR_SECONDS if usual else 0.0

    def claims(self, start: float, end: float, sigmas: float = 0.0) -> float:
        """Return the claims between two moments, `sigmas` deviations above what is expected."""
        pieces = list(self._pieces(start, end))
        expected = sum(claims for _, claims, _ in pieces)
        deviation = sum(deviation for _, _, deviation in pieces)
        return _bounded(expected, deviation, sigmas)

    def runway_seconds(self, fresh: int, sigmas: float = 0.0) -> float | None:
        """Return the seconds until `fresh` links are gone, None if that is more than a day."""
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
        """Yield stretches with one usual rate: their end, claims and the claims' deviation."""
        while start < end:
            hour = int((self._now + start) // HOUR_SECONDS)
            # Short stretches at first, while the present rate matters: runways of minutes are
            # interpolated linearly within a stretch.
            stop = min(end, (hour + 1) * HOUR_SECONDS - self._now, start + max(60.0, start))
            yield stop, *self._piece(hour, start, stop)
            start = stop

    def _piece(self, hour: int, start: float, stop: float) -> tuple[float, float]:
        seconds = stop - start
        # The weight of the present rate, integrated over the stretch.
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
    """Return the claims, bounded: rates may be wrong, and claims arrive at random."""
    return max(0.0, expected + sigmas * math.hypot(deviation, math.sqrt(expected)))
