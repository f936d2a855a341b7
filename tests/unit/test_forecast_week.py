"""Compare the automatic target with the fixed one, over synthetic weeks with daily peaks."""

from __future__ import annotations

import pytest

from tests.simulated_week import SHAPES, compare


@pytest.mark.parametrize("shape", ["office hours", "rush on the hour"])
def test_with_peaks_it_empties_less_often_at_the_same_mean_stock(shape: str) -> None:
    """Stock is there before the peak instead of all day long."""
    auto, fixed = compare(SHAPES[shape], seed=11)
    assert auto.mean_level <= 1.02 * fixed.mean_level
    assert auto.empty_seconds < 0.8 * fixed.empty_seconds
    assert auto.refused < 0.8 * fixed.refused


def test_without_peaks_it_does_no_worse() -> None:
    """There is nothing to foresee, and nothing is lost by trying."""
    auto, fixed = compare(SHAPES["flat"], seed=11)
    assert auto.refused == fixed.refused == 0
