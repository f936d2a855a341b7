"""Test limits on new links: bursts, refills, and callers who do not share."""

from __future__ import annotations

import pytest

import pool.access.limits
from pool.access.limits import MinuteLimit, network_of


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(limit: MinuteLimit, caller: str, wanted: int) -> int:
    """Return how many new links this caller gets of those wanted, now."""
    for number in range(wanted):
        if limit.reached(caller):
            return number
        limit.count(caller)
    return wanted


@pytest.mark.parametrize("per_minute", [1, 7, 60, 6_000])
def test_a_burst_of_a_minutes_worth_is_allowed(clock: Clock, per_minute: int) -> None:
    """One more than that is refused."""
    limit = MinuteLimit(per_minute, clock)
    assert taken(limit, "ann", per_minute + 10) == per_minute


def test_the_allowance_comes_back_evenly(clock: Clock) -> None:
    """Sixty a minute are one a second, and never more than a minute's worth at once."""
    limit = MinuteLimit(60, clock)
    taken(limit, "ann", 60)
    clock.now += 0.9
    assert limit.reached("ann")
    clock.now += 9.2
    assert taken(limit, "ann", 100) == 10
    clock.now += 3_600
    assert taken(limit, "ann", 100) == 60


def test_callers_do_not_share(clock: Clock) -> None:
    """A caller who used up the limit does not affect another."""
    limit = MinuteLimit(5, clock)
    taken(limit, "ann", 5)
    assert limit.reached("ann")
    assert not limit.reached("bob")


def test_looking_uses_nothing_up(clock: Clock) -> None:
    """A claim's need of a new link is known only afterwards."""
    limit = MinuteLimit(2, clock)
    assert not any(limit.reached("ann") for _ in range(100))
    assert taken(limit, "ann", 5) == 2


def test_without_a_limit_nobody_is_refused(clock: Clock) -> None:
    """Zero means none."""
    limit = MinuteLimit(0, clock)
    assert taken(limit, "ann", 1_000) == 1_000
    assert limit._whole_at == {}


def test_callers_who_are_whole_again_are_let_go(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by the callers of the last minute; those who are not whole are kept."""
    monkeypatch.setattr(pool.access.limits, "_KEPT", 100)
    limit = MinuteLimit(1, clock)
    for number in range(90):
        limit.count(number)
    clock.now += 61
    for number in range(200, 230):
        limit.count(number)
    assert len(limit._whole_at) == 30
    assert all(limit.reached(number) for number in range(200, 230))


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_network_is_one_caller(address: str, caller: str) -> None:
    """A caller with one of its addresses can use them all."""
    assert network_of(address) == caller


def test_what_came_to_nothing_is_given_back(clock: Clock) -> None:
    """A claim that found a link held before, or none at all, uses up no allowance."""
    limit = MinuteLimit(2, clock)
    for _ in range(20):
        assert not limit.reached("ann")
        limit.count("ann")
        limit.give_back("ann")
    limit.give_back("nobody knows them")
    limit.count("ann")
    limit.count("ann")
    assert limit.reached("ann")


def test_who_is_refused_learns_when_one_more_is_allowed(clock: Clock) -> None:
    """The time is exact to the second, and is now for callers with an allowance left."""
    limit = MinuteLimit(6, clock)
    assert limit.on
    assert not MinuteLimit(0, clock).on
    assert limit.seconds_until_free("ann") == 0.0
    taken(limit, "ann", 5)
    assert limit.seconds_until_free("ann") == 0.0
    limit.count("ann")
    assert limit.seconds_until_free("ann") == pytest.approx(10.0)
    clock.now += 4
    assert limit.seconds_until_free("ann") == pytest.approx(6.0)
    clock.now += 7
    assert limit.seconds_until_free("ann") == 0.0
    assert not limit.reached("ann")


def test_many_callers_are_not_looked_through_at_every_event(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a clean-up that dropped few of them, the next is due at twice their number."""
    monkeypatch.setattr(pool.access.limits, "_KEPT", 100)
    limit = MinuteLimit(1, clock)
    limit._tidy_at = 100
    for number in range(101):
        limit.count(number)
    assert limit._tidy_at == 200
    clock.now += 61
    for number in range(300, 400):
        limit.count(number)
    assert len(limit._whole_at) == 100
