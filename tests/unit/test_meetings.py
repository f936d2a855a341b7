"""Test what a meeting's settings ask of its pool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.model.meetings import LEAD_SECONDS, Meeting, runway_seconds


def test_the_target_covers_demand_until_links_arrive() -> None:
    """Claims per second times the time to cover and the time that making them takes."""
    meeting = Meeting("intro", min_fresh=0, max_fresh=10_000, cover_seconds=300)
    assert meeting.target(2.0) == 2 * (300 + LEAD_SECONDS)
    assert meeting.target(0.001) == 1, "rounded up"
    assert meeting.target(0.0) == 0


def test_a_quiet_pool_keeps_its_minimum() -> None:
    """Someone may come."""
    assert Meeting("intro", min_fresh=50).target(0.0) == 50


def test_a_storm_does_not_exceed_the_maximum() -> None:
    """Links that nobody claims are the provider's work for nothing."""
    assert Meeting("intro", max_fresh=2_000).target(1e9) == 2_000


@given(
    st.integers(0, 1_000_000),
    st.integers(0, 1_000_000),
    st.integers(0, 86_400),
    st.floats(0, 1e9),
    st.floats(0, 1e9),
)
def test_the_target_is_in_its_bounds_and_grows_with_demand(
    low: int, more: int, cover: int, rate: float, added: float
) -> None:
    """The target is in its bounds for all settings that go together."""
    meeting = Meeting("intro", min_fresh=low, max_fresh=low + more, cover_seconds=cover)
    assert low <= meeting.target(rate) <= meeting.target(rate + added) <= low + more


@pytest.mark.parametrize(
    ("fresh", "rate", "runway"), [(10, 2.0, 5.0), (0, 2.0, 0.0), (10, 0.0, None), (0, 1e-9, None)]
)
def test_the_runway_is_how_long_the_stock_lasts(
    fresh: int, rate: float, runway: float | None
) -> None:
    """None while nobody claims: it lasts for ever."""
    assert runway_seconds(fresh, rate) == runway
