"""Test the task that lapses very many claims whose time is over."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pool.ledger import Ledger
from pool.model.links import State
from pool.model.times import to_ms
from tests.integration.ledger_samples import NOW, TTL, claim
from worker import lapse

LATER = NOW + 2 * TTL


def stage(ledger: Ledger, redis_now: datetime) -> Any:
    """Provide the ledger and Redis's clock, which the task asks."""

    async def now_ms() -> int:
        return to_ms(redis_now)

    return SimpleNamespace(
        ledger=ledger,
        store=SimpleNamespace(now_ms=now_ms),
        outcomes=SimpleNamespace(count=lambda *_: None),
    )


async def test_all_that_is_due_is_marked_and_the_ledger_left_to_others_in_between(
    any_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works in batches with rests, and does nothing where a clock is not there yet."""
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    await any_ledger.links.record([claim(f"a-{n}", f"c-{n}") for n in range(2_500)])
    monkeypatch.setattr("worker.lapse.asyncio.sleep", rest)
    monkeypatch.setattr("worker.lapse.datetime", SimpleNamespace(now=lambda _: LATER))
    await lapse.lapse(stage(any_ledger, NOW))
    assert await any_ledger.counts.of("intro") == {State.CLAIMED: 2_500}
    await lapse.lapse(stage(any_ledger, LATER))
    assert await any_ledger.counts.of("intro") == {State.LAPSED: 2_500}
    assert len(rests) == 2
    assert all(seconds > 0 for seconds in rests)


async def test_a_run_comes_to_an_end(any_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run continues its work."""
    await any_ledger.links.record([claim(f"a-{n}", f"c-{n}") for n in range(1_500)])
    monkeypatch.setattr("worker.lapse._RUN_SECONDS", 0.001)
    monkeypatch.setattr("worker.lapse.datetime", SimpleNamespace(now=lambda _: LATER))
    await lapse.lapse(stage(any_ledger, LATER))
    assert (await any_ledger.counts.of("intro"))[State.LAPSED] == 1_000
    await lapse.lapse(stage(any_ledger, LATER))
    assert await any_ledger.counts.of("intro") == {State.LAPSED: 1_500}
