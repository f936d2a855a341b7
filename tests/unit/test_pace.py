"""Test how fast strangers are served: a few at once, then evenly, each address for itself."""

from __future__ import annotations

import pytest

import pool.access.pace
from pool.access.pace import AT_ONCE, LONGEST_SECONDS, PER_SECOND, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_few_are_served_at_once_and_the_rest_evenly() -> None:
    """One address may open any number of connections."""
    pace = Pace(Clock())
    waits = [pace.turn("a") for _ in range(int(AT_ONCE) + 20)]
    assert waits[: int(AT_ONCE)] == [0.0] * int(AT_ONCE)
    later = waits[int(AT_ONCE) :]
    assert later == pytest.approx([(number + 1) / PER_SECOND for number in range(20)])
    assert pace.turn("b") == 0.0


def test_nobody_waits_for_ever() -> None:
    """A wait holds a connection and the bytes that were sent on it."""
    pace = Pace(Clock())
    assert max(pace.turn("a") for _ in range(10_000)) == LONGEST_SECONDS


def test_a_pace_has_its_own_speed() -> None:
    """All addresses together are served at another speed than each of them."""
    pace = Pace(Clock(), per_second=2.0, at_once=3.0, longest_seconds=4.0)
    assert [pace.turn("all") for _ in range(13)] == pytest.approx(
        [0.0] * 3 + [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.0, 4.0]
    )


def test_a_caller_that_pauses_is_served_at_once_again() -> None:
    """They are served as if they had never asked."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(200):
        pace.turn("a")
    clock.now += LONGEST_SECONDS + AT_ONCE / PER_SECOND
    assert [pace.turn("a") for _ in range(int(AT_ONCE))] == [0.0] * int(AT_ONCE)
    assert pace.turn("a") > 0.0


def test_turns_that_are_given_back_cost_nothing() -> None:
    """Signed webhooks are as many as they are."""
    pace = Pace(Clock())
    for _ in range(1_000):
        assert pace.turn("provider") == 0.0
        pace.give_back("provider")
    pace.give_back("unknown")


def test_callers_who_have_not_asked_lately_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with many addresses fills no memory."""
    monkeypatch.setattr(pool.access.pace, "_KEPT", 100)
    clock = Clock()
    pace = Pace(clock)
    pace._tidy_at = 100
    for number in range(10_000):
        pace.turn(number)
        clock.now += 0.1
        assert len(pace._turn_at) <= 100
