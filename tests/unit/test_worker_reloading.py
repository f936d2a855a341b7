"""Test that a worker takes new settings however many signals ask for it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from worker.reloading import one_at_a_time


@pytest.mark.parametrize("signals", [1, 2, 5])
def test_signals_within_a_reload_are_followed_by_one_more(signals: int) -> None:
    """Each reload starts an event loop, and none can be started within another."""
    reloads: list[int] = []

    async def reload() -> None:
        if not reloads:
            for _ in range(signals - 1):
                os.kill(os.getpid(), signal.SIGHUP)
                await asyncio.sleep(0)
        reloads.append(len(reloads))

    before = signal.signal(signal.SIGHUP, one_at_a_time(lambda: asyncio.run(reload())))
    try:
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(reloads) == min(signals, 2)


def test_a_reload_that_fails_leaves_the_next_one_possible() -> None:
    """It must not be taken for one that is still under way."""
    tried: list[str] = []

    def fail_once() -> None:
        tried.append("once more")
        if len(tried) == 1:
            raise RuntimeError("full")

    handle = one_at_a_time(fail_once)
    with pytest.raises(RuntimeError, match="full"):
        handle()
    handle()
    assert len(tried) == 2
