"""The redo buffer: what was answered lately, and no more than that."""

from __future__ import annotations

import pytest

import pool.redo
from pool.api.service import redo_seconds
from pool.links import Claim
from pool.redo import FAILOVER_KEPT_SECONDS, KEPT_SECONDS, RedoBuffer
from pool.settings import Settings
from pool.store.records import Redo


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(clock: Clock) -> RedoBuffer:
    return RedoBuffer(clock)


def answered(number: int) -> Redo:
    claim = Claim(slug=f"a-{number}", state="claimed", source="pool", claimed_at_ms=number)
    return Redo(f"c{number}", claim, 1_000, b"payload")


def test_what_was_answered_is_kept_by_meeting(buffer: RedoBuffer) -> None:
    """In the order of the answers."""
    for number in range(4):
        buffer.remember("intro" if number % 2 else "demo", [answered(number)])
    assert buffer.lately("intro") == [answered(1), answered(3)]
    assert buffer.lately("demo") == [answered(0), answered(2)]
    assert buffer.lately("other") == []
    assert buffer.sids() == {"intro", "demo"}


def test_what_is_old_is_not_asserted(buffer: RedoBuffer, clock: Clock) -> None:
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
    assert redo_seconds(plain) == KEPT_SECONDS
    assert redo_seconds(watched) == FAILOVER_KEPT_SECONDS
    buffer = RedoBuffer(clock, seconds=redo_seconds(watched))
    buffer.remember("intro", [answered(0)])
    clock.now += 2 * KEPT_SECONDS
    assert buffer.lately("intro") == [answered(0)]
    clock.now += FAILOVER_KEPT_SECONDS
    assert buffer.lately("intro") == []


def test_what_is_old_takes_no_memory(buffer: RedoBuffer, clock: Clock) -> None:
    """Also of meetings at which nobody claims any more."""
    for number in range(100):
        buffer.remember(f"m{number}", [answered(number)])
    clock.now += KEPT_SECONDS + 1
    buffer.remember("intro", [answered(1)])
    assert buffer.sids() == {"intro"}
    assert buffer._count == 1
    assert len(buffer._kept) == 1


def test_the_buffer_is_bounded_in_number(
    buffer: RedoBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest claims of the busiest meeting go; others keep theirs."""
    monkeypatch.setattr(pool.redo, "KEPT_CLAIMS", 10)
    monkeypatch.setattr(pool.redo, "ALWAYS_KEPT_CLAIMS", 5)
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
