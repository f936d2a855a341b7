"""Test the forecast: its expectation, its certainty, and the target it sets."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.model.forecast import (
    HOUR_SECONDS,
    HOURS,
    NO_PAST,
    Curve,
    Outlook,
    forecast,
    outlook,
    target,
)
from pool.model.meetings import Meeting

HOUR = 480_000  # since 1970
NOW = float(HOUR * HOUR_SECONDS)
MEETING = Meeting("intro", min_fresh=10, max_fresh=100_000, cover_seconds=595)
AUTO = Meeting("intro", min_fresh=10, max_fresh=1_000, cover_seconds=595, target_mode="auto")


def same_each_day(claims: dict[int, float], days: int = 14) -> Outlook:
    """Return an outlook from days on which hours ahead of now brought this many claims."""
    past = [
        (HOUR + ahead - HOURS * day, claims.get(ahead, 0.0))
        for day in range(1, days + 1)
        for ahead in range(HOURS)
    ]
    return outlook(HOUR, past)


def test_without_a_past_the_present_goes_on() -> None:
    """Runways lie on both sides of stock by rate, and so does nothing once nobody claims."""
    found = forecast(MEETING, 600, 1.0, NOW, NO_PAST)
    assert found.runway_low_seconds is not None
    assert found.runway_high_seconds is not None
    assert 300 < found.runway_low_seconds < 600 < found.runway_high_seconds < 1_200
    idle = forecast(MEETING, 600, 0.0, NOW, NO_PAST)
    assert (idle.runway_low_seconds, idle.runway_high_seconds) == (None, None)
    assert idle.suggested_target == MEETING.min_fresh


def test_a_peak_of_every_day_is_seen_coming() -> None:
    """Before the peak the runway ends in it, and the target is the number of links that it
    takes.
    """
    seen = same_each_day({0: 0.0, 1: 3_600.0})
    found = forecast(MEETING, 900, 0.0, NOW + 1_800, seen)
    assert found.runway_low_seconds is not None
    assert found.runway_high_seconds is not None
    assert 1_800 < found.runway_low_seconds < 1_800 + 900 < found.runway_high_seconds < 5_400
    assert 600 < found.suggested_target < 800, "ten minutes at 1/s, and some"
    assert forecast(MEETING, 900, 0.0, NOW - 1_800, seen).suggested_target == MEETING.min_fresh


def test_a_day_unlike_others_counts_now_and_fades() -> None:
    """Three times the usual rate: nearly so in the next minutes, the usual again by evening."""
    seen = same_each_day(dict.fromkeys(range(HOURS), 3_600.0))
    curve = Curve(3.0, NOW, seen)
    assert curve.claims(0, 60) == pytest.approx(180, rel=0.02)
    later = 6 * HOUR_SECONDS
    assert curve.claims(later, later + 60) == pytest.approx(60, rel=0.02)
    quiet = Curve(0.0, NOW, seen)
    assert quiet.claims(0, 60) == pytest.approx(0, abs=1)
    assert quiet.claims(later, later + 60) == pytest.approx(60, rel=0.02)


def test_recent_days_and_the_same_weekday_count_more() -> None:
    """A week of zeros with one busy weekday; and a level that rose lately."""
    weekly = [(HOUR - HOURS * day, 700.0 if day % 7 == 0 else 0.0) for day in range(1, 29)]
    usual = outlook(HOUR, weekly).usual(HOUR)
    assert usual is not None
    assert usual.claims > 2 * 700 / 7
    risen = [(HOUR - HOURS * day, 100.0 if day <= 4 else 0.0) for day in range(1, 7)]
    usual = outlook(HOUR, risen).usual(HOUR)
    assert usual is not None
    assert usual.claims > 100 * 4 / 6


def test_days_that_differ_widen_the_range() -> None:
    """The expectation is the same; what may come is not."""
    steady = outlook(HOUR, [(HOUR - HOURS * day, 100.0) for day in range(1, 15)]).usual(HOUR)
    wild = outlook(HOUR, [(HOUR - HOURS * d, 200.0 * (d % 2)) for d in range(1, 15)]).usual(HOUR)
    assert steady is not None
    assert wild is not None
    assert wild.deviation > 3 * steady.deviation


def test_an_outlook_that_is_old_still_tells_of_the_hour_of_day() -> None:
    """The task that renews it may be late."""
    seen = same_each_day({5: 50.0})
    assert seen.usual(HOUR + 5) == seen.usual(HOUR + 5 + 3 * HOURS)


def test_a_meeting_nobody_claimed_has_no_outlook() -> None:
    """Zeros say as little as nothing at all."""
    assert same_each_day({}).hours == ()
    assert outlook(HOUR, []).usual(HOUR) is None


def test_only_an_automatic_target_follows_the_forecast() -> None:
    """The target stays within what the operator allows."""
    seen = same_each_day({1: 3_600.0})
    fixed = Meeting("intro", min_fresh=10, max_fresh=1_000, cover_seconds=595)
    assert target(fixed, 0.0, NOW + 1_800, seen) == 10
    assert 600 < target(AUTO, 0.0, NOW + 1_800, seen) < 1_000
    assert target(AUTO, 50.0, NOW, seen) == 1_000
    assert target(AUTO, 0.0, NOW, NO_PAST) == 10


@given(
    st.integers(0, 100_000),
    st.floats(0, 1_000),
    st.floats(0, 86_400),
    st.lists(st.floats(0, 1e6), max_size=60),
)
def test_whatever_happened_the_numbers_go_together(
    fresh: int, rate: float, after: float, past: list[float]
) -> None:
    """The low runway is not above the high one, and the target is within its bounds."""
    seen = outlook(HOUR, [(HOUR - 1 - number, claims) for number, claims in enumerate(past)])
    found = forecast(AUTO, fresh, rate, NOW + after, seen)
    low = math.inf if found.runway_low_seconds is None else found.runway_low_seconds
    high = math.inf if found.runway_high_seconds is None else found.runway_high_seconds
    assert 0 <= low <= high
    assert AUTO.min_fresh <= found.suggested_target <= AUTO.max_fresh


def test_the_range_holds_about_as_often_as_it_says() -> None:
    """Days that differ by a quarter: the stock ends within the range in most of 300 tries."""
    chance = random.Random(7)
    held = 0
    for _ in range(300):
        day_by_day = [max(0.0, chance.gauss(1.0, 0.25)) for _ in range(15)]
        past = [(HOUR - HOURS * day, 1_800 * day_by_day[day]) for day in range(1, 15)]
        seen = outlook(HOUR, past)
        rate = 0.5 * day_by_day[0]
        arrivals, now = 0, 0.0
        while arrivals < 400:
            now += chance.expovariate(max(rate, 1e-3))
            arrivals += 1
        measured = max(0.0, chance.gauss(rate, math.sqrt(rate / 60)))
        found = forecast(MEETING, 400, measured, NOW, seen)
        low, high = found.runway_low_seconds, found.runway_high_seconds
        held += (low or 0.0) <= now <= (high or math.inf)
    assert 0.75 * 300 <= held <= 0.97 * 300
