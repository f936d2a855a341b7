"""Test recent claims: a process keeps its latest answers, and nothing older."""

from __future__ import annotations

import pytest

import pool.durability.recent_claims
from pool.api.service import kept_seconds
from pool.config.settings import Settings
from pool.durability.recent_claims import FAILOVER_KEPT_SECONDS, KEPT_SECONDS, RecentClaims
from pool.model.links import Claim
from pool.store.records import AnsweredClaim


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(clock: Clock) -> RecentClaims:
    return RecentClaims(clock)


def answered(number: int) -> AnsweredClaim:
    claim = Claim(slug=f"a-{number}", state="claimed", source="pool", claimed_at_ms=number)
    return AnsweredClaim(f"c{number}", claim, 1_000, b"payload")


def test_what_was_answered_is_kept_by_meeting(buffer: RecentClaims) -> None:
    """Claims are kept in the order of the answers."""
    for number in range(4):
        buffer.remember("intro" if number % 2 else "demo", [answered(number)])
    assert buffer.lately("intro") == [answered(1), answered(3)]
    assert buffer.lately("demo") == [answered(0), answered(2)]
    assert buffer.lately("other") == []
    assert buffer.sids() == {"intro", "demo"}


def test_what_was_answered_since_is_told_apart(buffer: RecentClaims, clock: Clock) -> None:
    """All counts as answered since a moment that is no longer kept."""
    assert buffer.newest("intro") is None
    buffer.remember("intro", [answered(0), answered(1)])
    first = buffer.newest("intro")
    assert buffer.since("intro", first) == []
    clock.now += KEPT_SECONDS / 2
    buffer.remember("intro", [answered(2)])
    buffer.remember("intro", [answered(3)])
    assert buffer.newest("intro") is not first
    assert buffer.since("intro", first) == [answered(2), answered(3)]
    assert buffer.since("intro", None) == buffer.lately("intro")
    clock.now += KEPT_SECONDS / 2 + 0.1
    assert buffer.since("intro", first) == [answered(2), answered(3)]
    assert buffer.since("other", first) == []


def test_what_is_old_is_not_asserted(buffer: RecentClaims, clock: Clock) -> None:
    """The recorder has had its time; a later cancellation must not be undone."""
    buffer.remember("intro", [answered(0)])
    clock.now += KEPT_SECONDS / 2
    buffer.remember("intro", [answered(1)])
    clock.now += KEPT_SECONDS / 2 + 0.1
    assert buffer.lately("intro") == [answered(1)]
    assert buffer.sids() == {"intro"}
    clock.now += KEPT_SECONDS
    assert buffer.lately("intro") == []
    assert buffer.sids() == set()


def test_with_sentinels_answers_are_kept_for_longer(clock: Clock) -> None:
    """A master that was passed over answers for some ten seconds more."""
    plain = Settings(redis_url="redis://127.0.0.1:6379/0")
    watched = Settings(redis_url="redis+sentinel://127.0.0.1:26379/main/0")
    assert kept_seconds(plain) == KEPT_SECONDS
    assert kept_seconds(watched) == FAILOVER_KEPT_SECONDS
    buffer = RecentClaims(clock, seconds=kept_seconds(watched))
    buffer.remember("intro", [answered(0)])
    clock.now += 2 * KEPT_SECONDS
    assert buffer.lately("intro") == [answered(0)]
    clock.now += FAILOVER_KEPT_SECONDS
    assert buffer.lately("intro") == []


def test_what_is_old_takes_no_memory(buffer: RecentClaims, clock: Clock) -> None:
    """Claims of meetings at which nobody claims any more are dropped, too."""
    for number in range(100):
        buffer.remember(f"m{number}", [answered(number)])
    clock.now += KEPT_SECONDS + 1
    buffer.remember("intro", [answered(1)])
    assert buffer.sids() == {"intro"}
    assert buffer._count == 1
    assert len(buffer._kept) == 1


def test_the_buffer_is_bounded_in_number(
    buffer: RecentClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest claims of the busiest meeting go; others keep theirs."""
    monkeypatch.setattr(pool.durability.recent_claims, "KEPT_CLAIMS", 10)
    monkeypatch.setattr(pool.durability.recent_claims, "ALWAYS_KEPT_CLAIMS", 5)
    for number in range(15):
        buffer.remember("intro", [answered(number)])
    assert buffer.lately("intro") == [answered(number) for number in range(5, 15)]
    buffer.remember("demo", [answered(99)])
    assert buffer.lately("demo") == [answered(99)]
    assert buffer.lately("intro") == [answered(number) for number in range(5, 15)]
    buffer.remember("intro", [answered(15)])
    assert buffer.lately("intro") == [answered(number) for number in range(7, 16)]
    buffer.remember("intro", [answered(16), answered(17)])
    assert buffer.lately("intro") == [answered(number) for number in range(9, 18)]


def test_a_meetings_last_claims_are_kept_whatever_the_crowd(
    buffer: RecentClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly the guaranteed number of them is kept."""
    monkeypatch.setattr(pool.durability.recent_claims, "KEPT_CLAIMS", 2)
    monkeypatch.setattr(pool.durability.recent_claims, "ALWAYS_KEPT_CLAIMS", 3)
    for number in range(3):
        buffer.remember("intro", [answered(number)])
    assert buffer.lately("intro") == [answered(number) for number in range(3)]
    buffer.remember("intro", [answered(3)])
    assert buffer.lately("intro") == [answered(number) for number in range(1, 4)]
