"""Test callers who fail to get in: limited by address, counted, and logged without filling the
disk.
"""

from __future__ import annotations

from collections import Counter

import pytest
from structlog.testing import capture_logs

from pool.access.doors import SIGN_INS, SIGN_INS_IN_ALL, WRONG_SIGNATURES, Doors
from pool.config.networks import TrustedProxies
from pool.errors import RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Hall(Doors):
    """Doors with a clock that tests turn, and counts that they read."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counts: Counter[str] = Counter()
        super().__init__(
            TrustedProxies("127.0.0.1"), lambda door: self.counts.update([door]), self.clock
        )


def refused(hall: Hall, door: str, address: str) -> bool:
    try:
        hall.check(door, address)  # type: ignore[arg-type]
    except RateLimited as error:
        return error.retry_after_seconds >= 1
    return False


@pytest.mark.parametrize(
    ("door", "allowed"), [("webhook", WRONG_SIGNATURES), ("sign-in", SIGN_INS)]
)
def test_an_address_that_fails_too_often_is_refused_for_a_while(door: str, allowed: int) -> None:
    """Other addresses and other doors are not refused; the allowance comes back."""
    hall = Hall()
    for _ in range(allowed):
        assert not refused(hall, door, "203.0.113.7")
        hall.failed(door, "203.0.113.7")  # type: ignore[arg-type]
    assert refused(hall, door, "203.0.113.7")
    assert not refused(hall, door, "203.0.113.8")
    assert not refused(hall, "api", "203.0.113.7")
    hall.clock.now += 60 / allowed + 0.01
    assert not refused(hall, door, "203.0.113.7")
    assert hall.counts == {door: allowed}


def test_a_network_of_addresses_is_one_guesser() -> None:
    """An attacker with one address of an IPv6 /64 has them all."""
    hall = Hall()
    for number in range(SIGN_INS):
        hall.failed("sign-in", f"2001:db8::{number:x}")
    assert refused(hall, "sign-in", "2001:db8::ffff")


def test_many_addresses_together_guess_no_faster() -> None:
    """There is a limit for all of them."""
    hall = Hall()
    for number in range(SIGN_INS_IN_ALL):
        assert not refused(hall, "sign-in", f"198.51.{number // 250}.{number % 250}")
        hall.failed("sign-in", f"198.51.{number // 250}.{number % 250}")
    assert refused(hall, "sign-in", "203.0.113.7")


def test_failures_are_logged_with_their_address_and_fill_no_disk() -> None:
    """The first, the tenth, the hundredth of a minute."""
    hall = Hall()
    with capture_logs() as lines:
        for _ in range(1_234):
            hall.failed("api", "203.0.113.7")
        hall.failed("api", "203.0.113.8")
    said = [(line["address"], line["failures"]) for line in lines]
    first = "203.0.113.7"
    assert said == [(first, 1), (first, 10), (first, 100), (first, 1000), ("203.0.113.8", 1)]
    assert hall.counts == {"api": 1_235}
    hall.clock.now += 61
    with capture_logs() as lines:
        hall.failed("api", first)
    assert [line["failures"] for line in lines] == [1]
