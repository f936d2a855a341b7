"""Test the plan for many regions: it adds up, and says when it does not."""

from __future__ import annotations

import pytest

from bench.regions import Plan, main, simulate

PLAN = Plan(
    claims_per_second=50_000,
    meetings=2_000,
    regions=3,
    skew=0.5,
    ttl_seconds=3_600,
    cover_seconds=300,
    seed=1,
)


def test_what_is_planned_carries_the_worst_second_without_one_region() -> None:
    worst = simulate(PLAN)
    assert 0.2 < worst.master < 1
    assert 0.2 < worst.process < 1
    assert worst == simulate(PLAN)  # the same seed, the same day


def test_a_plan_that_one_meeting_outgrows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """All claims of a meeting are one master's, however many there are."""
    assert main(["--claims", "400000", "--meetings", "50", "--skew", "3"]) == 1
    assert "the hottest meeting" in capsys.readouterr().out
    assert main(["--claims", "20000", "--meetings", "500", "--regions", "2"]) == 0
