"""Test how each part is said to be, by what Redis, the ledger and the broker tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pool.errors import LedgerUnavailable
from pool.model.times import to_ms
from pool.model.vitals import Calls, Heard, HeardPulse, Pulse
from pool.operations.health import (
    KEPT_SECONDS,
    NEVER_RAN,
    Health,
    HealthWatch,
    PartHealth,
    work,
)
from tests.in_process import InProcess

NOW = datetime(2026, 11, 26, 7, 0, tzinfo=UTC)


def heard(*ages: float, swept: float | None = None, always: bool = True) -> Heard:
    """Return the answer of workers whose pulse and last sweep are this old."""
    pulses = tuple(
        HeardPulse(f"worker {number}", Pulse("worker", "host"), age)
        for number, age in enumerate(ages)
    )
    swept_ms = None if swept is None else to_ms(NOW - timedelta(seconds=swept))
    return Heard(to_ms(NOW), pulses, swept_ms, {}, always)


@pytest.mark.parametrize(
    ("said", "asked", "worker", "beat"),
    [
        (heard(0.5, 1.0, swept=3), None, "ok", "ok"),
        (heard(swept=None), None, "down", "down"),  # neither has ever run
        (heard(swept=None), 2.0, "down", "ok"),  # beat asks, and no worker has ever run
        (heard(0.5, swept=None), None, "ok", "down"),  # a worker, and no beat yet
        (heard(0.5, swept=300), None, "ok", "down"),
        (heard(40.0, swept=40), None, "down", "down"),
        (heard(40.0, swept=40), 1.0, "down", "ok"),
        (heard(40.0, swept=40), 90.0, "down", "down"),  # what waits is old: beat is gone, too
        (heard(swept=3, always=False), None, "ok", "ok"),  # an older release has no pulse
        (heard(5.0, swept=3), None, "down", "ok"),
    ],
)
def test_worker_and_beat_are_distinguished(
    said: Heard, asked: float | None, worker: str, beat: str
) -> None:
    """A sweep needs both; a pulse shows a worker, and a message that waits shows a beat."""
    asked_at = None if asked is None else NOW - timedelta(seconds=asked)
    assert [each.state for each in work(said, 5.0, asked_at)] == [worker, beat]


def test_a_worker_that_has_never_run_is_called_so() -> None:
    worker, _ = work(heard(), 5.0, None)
    assert worker.detail == NEVER_RAN


def test_what_is_down_is_down_since_it_was_last_heard() -> None:
    worker, beat = work(heard(30.0, swept=34), 5.0, None)
    assert worker.since == NOW - timedelta(seconds=30)
    assert beat.since == NOW - timedelta(seconds=34)


@pytest.mark.parametrize(
    ("calls", "silent"),
    [
        ([], 0.0),
        ([Calls(1, 4.0, None)], 4.0),
        ([Calls(1, 4.0, None), Calls(1, 0.0, 1.0)], 0.0),  # another process was answered since
        ([Calls(1, 4.0, None), Calls(0, 0.0, 60.0)], 4.0),
    ],
)
def test_a_provider_is_silent_if_it_answers_nobody(calls: list[Calls], silent: float) -> None:
    pulses = tuple(
        HeardPulse(f"api {number}", Pulse("api", "host", {"acme": one}), 0.0)
        for number, one in enumerate(calls)
    )
    assert Heard(to_ms(NOW), pulses, None, {}).unanswered_seconds("acme") == silent


def test_the_worst_part_is_the_state_of_all() -> None:
    ok, unknown, down = (PartHealth(each, each) for each in ("ok", "unknown", "down"))  # type: ignore[arg-type]
    assert Health((ok, unknown)).state == "ok"
    assert Health((ok, PartHealth("webhooks", "degraded"))).state == "degraded"
    assert Health((ok, PartHealth("webhooks", "degraded"), down)).state == "down"


async def test_each_part_has_its_state_and_since_when(product: InProcess) -> None:
    """A state that lasts keeps its time; one that changes gets a new one."""
    at, seconds = [NOW], [0.0]
    watch = HealthWatch(
        product.store, product.ledger, product.parts.settings,
        now=lambda: at[0], clock=lambda: seconds[0],
    )  # fmt: skip

    async def look() -> dict[str, PartHealth]:
        at[0] += timedelta(seconds=60)
        seconds[0] += KEPT_SECONDS
        return {each.name: each for each in (await watch.look()).parts}

    first = await look()
    assert set(first) == {
        "redis", "ledger", "broker", "worker", "beat", "webhooks", "provider:default",
    }  # fmt: skip
    assert (
        first["ledger"].state == first["webhooks"].state == first["provider:default"].state == "ok"
    )
    assert first["worker"].detail == NEVER_RAN

    async def away(_state: str) -> int:
        raise LedgerUnavailable("the ledger cannot be reached")

    counting, product.ledger.inbox.count = product.ledger.inbox.count, away  # type: ignore[method-assign]
    second = await look()
    assert second["ledger"] == PartHealth("ledger", "down", "the ledger cannot be reached", at[0])
    assert second["webhooks"].state == "down"
    assert second["redis"].since == first["redis"].since
    began = at[0]
    assert (await look())["ledger"].since == began
    product.ledger.inbox.count = counting  # type: ignore[method-assign]
    assert (await look())["ledger"] == PartHealth("ledger", "ok", "", at[0])


async def test_those_who_ask_at_once_cost_one_look(product: InProcess) -> None:
    """A state that changes in between is not seen until the answer is two seconds old."""
    at = [0.0]
    watch = HealthWatch(product.store, product.ledger, product.parts.settings, clock=lambda: at[0])
    first = await watch.look()
    await product.ledger.close()
    assert await watch.look() == first
