"""Test what an API process does again and again beside its requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pool.api.background import repeat


async def test_a_step_that_loses_its_cancellation_keeps_no_process_from_stopping() -> None:
    """Libraries lose one now and then, while they connect; the step is the last one then."""
    begun, steps = asyncio.Event(), 0

    async def deaf() -> None:
        nonlocal steps
        steps += 1
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    repeating = asyncio.create_task(repeat("deaf", 0.0, deaf))
    await begun.wait()
    repeating.cancel()
    done, _ = await asyncio.wait([repeating], timeout=30)
    repeating.cancel()
    assert done
    assert steps == 1
