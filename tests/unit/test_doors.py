"""Test callers who fail to get in: limited by address, counted, and logged without filling the
disk.
"""

from __future__ import annotations

from collections import Counter

import pytest
from structlog.testing import capture_logs

from pool.access.doors import (
    AT_ONCE_IN_ALL,
    AT_ONCE_SCRIPTS,
    IN_ALL_PER_SECOND,
    SENDER_SECONDS,
    SIGN_INS,
    SIGN_INS_IN_ALL,
    SIGN_INS_WHILE_MANY_FAIL,
    Doors,
)
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


def refused(hall: Hall, address: str) -> bool:
    try:
        hall.check_sign_in(address)
    except RateLimited as error:
        return error.retry_after_seconds >= 1
    return False


def test_an_address_that_fails_too_often_to_sign_in_is_refused_for_a_while() -> None:
    """Other addresses are not, nor does failing elsewhere count; the allowance comes back."""
    hall = Hall()
    for _ in range(1_000):
        hall.failed("api", "203.0.113.7")
        hall.failed("webhook", "203.0.113.7")
    for _ in range(SIGN_INS):
        assert not refused(hall, "203.0.113.7")
        hall.failed("sign-in", "203.0.113.7")
    assert refused(hall, "203.0.113.7")
    assert not refused(hall, "203.0.113.8")
    hall.clock.now += 60 / SIGN_INS + 0.01
    assert not refused(hall, "203.0.113.7")
    assert hall.counts == {"api": 1_000, "webhook": 1_000, "sign-in": SIGN_INS}


def test_a_network_of_addresses_is_one_guesser() -> None:
    """An attacker with one address of an IPv6 /64 has them all."""
    hall = Hall()
    for number in range(SIGN_INS):
        hall.failed("sign-in", f"2001:db8::{number:x}")
    assert refused(hall, "2001:db8::ffff")


def test_many_addresses_together_lock_nobody_out() -> None:
    """When many fail, each may guess less often, and an address without a failure may sign in."""
    hall = Hall()
    for number in range(SIGN_INS_IN_ALL):
        address = f"198.51.{number // 250}.{number % 250}"
        assert not refused(hall, address)
        hall.failed("sign-in", address)
    assert not refused(hall, "203.0.113.7")
    for _ in range(SIGN_INS_WHILE_MANY_FAIL):
        assert not refused(hall, "203.0.113.7")
        hall.failed("sign-in", "203.0.113.7")
    assert refused(hall, "203.0.113.7")
    assert not refused(hall, "203.0.113.8")
    hall.clock.now += 61
    assert not refused(hall, "203.0.113.7")


def test_a_sender_of_genuine_webhooks_is_known_for_a_day() -> None:
    """It is known by its network; what fails there does not change it."""
    hall = Hall()
    assert not hall.sends_webhooks("2001:db8::1")
    hall.genuine("2001:db8::1")
    for _ in range(1_000):
        hall.failed("webhook", "2001:db8::2")
    assert hall.sends_webhooks("2001:db8::3")
    assert not hall.sends_webhooks("2001:db8:0:1::1")
    hall.clock.now += SENDER_SECONDS
    assert not hall.sends_webhooks("2001:db8::1")


def test_the_senders_that_are_kept_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was silent for longest is dropped."""
    monkeypatch.setattr("pool.access.doors._SENDERS", 3)
    hall = Hall()
    for address in ("a", "b", "c", "a", "d"):
        hall.genuine(address)
    assert [each for each in "abcd" if hall.sends_webhooks(each)] == ["a", "c", "d"]


def test_failures_are_logged_with_their_address_and_fill_no_disk() -> None:
    """The first, tenth and hundredth of a minute are logged."""
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


def address_of(number: int) -> str:
    return f"198.51.{number // 250}.{number % 250}"


def test_ever_new_addresses_are_served_no_faster_than_all_of_them_may_be() -> None:
    """Each asks once only, so none would have to wait for its own turn."""
    hall = Hall()
    waits = [hall.turn(address_of(number)) for number in range(1_000)]
    assert waits[: int(AT_ONCE_IN_ALL)] == [0.0] * int(AT_ONCE_IN_ALL)
    assert waits[-1] == pytest.approx((1_000 - AT_ONCE_IN_ALL) / IN_ALL_PER_SECOND)
    assert hall.turn("127.0.0.1") == 0.0
    assert hall.turn_of_visitor("203.0.113.7") == 0.0
    assert hall.turn_of_script("203.0.113.7") == 0.0
    hall.clock.now += waits[-1] + 1
    assert hall.turn("203.0.113.8") == 0.0


def test_an_address_that_asks_too_fast_delays_no_other() -> None:
    """That holds for any number of its connections."""
    hall = Hall()
    for _ in range(10_000):
        hall.turn("203.0.113.7")
    assert hall.turn("203.0.113.8") == 0.0


def test_many_visitors_get_their_scripts_and_claims_at_once() -> None:
    """Only visitors with a wrong proof are delayed."""
    hall = Hall()
    waits = [hall.turn_of_visitor(address_of(number)) for number in range(5_000)]
    assert max(waits) == 0.0
    waits = [hall.turn_of_script(address_of(number)) for number in range(3_000)]
    assert waits[: int(AT_ONCE_SCRIPTS)] == [0.0] * int(AT_ONCE_SCRIPTS)
    assert waits[-1] > 1.0
    waits = [hall.turn_in_all(address_of(number)) for number in range(1_000)]
    assert waits[-1] > 1.0


def test_a_regular_probe_is_not_delayed_by_others() -> None:
    """An orchestrator would end a process whose probes time out."""
    hall = Hall()
    for _ in range(10):
        assert hall.turn_of_probe("203.0.113.7") == 0.0
        hall.clock.now += 10
    for number in range(1_000):
        hall.turn_of_probe(address_of(number))
    assert hall.turn_of_probe("203.0.113.7") == 0.0
    assert hall.turn_of_probe("203.0.113.8") > 1.0
    assert max(hall.turn_of_probe("203.0.113.7") for _ in range(100)) > 1.0


def test_strangers_push_out_no_regular_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are kept; those that stopped asking are forgotten."""
    monkeypatch.setattr("pool.access.doors._PROBERS", 100)
    hall = Hall()
    for _ in range(10):
        hall.turn_of_probe("203.0.113.7")
        hall.clock.now += 10
    for number in range(1_000):
        hall.turn_of_probe(address_of(number))
        assert len(hall._probers) <= 100
        if number % 100 == 0:
            assert hall.turn_of_probe("203.0.113.7") == 0.0
            hall.clock.now += 10
    hall.clock.now += 10_000
    hall.turn_of_probe("203.0.113.7")
    for number in range(1_000):
        hall.turn_of_probe(address_of(number))
    assert hall.turn_of_probe("203.0.113.7") > 1.0
