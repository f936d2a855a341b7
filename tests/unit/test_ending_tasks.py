"""Test that tasks end which lose a cancellation, as those of redis-py may."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pool.store.ending import end_tasks


async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    """It may lose one or several, and other tasks end at once, with or without an error."""
    lost = 0

    async def loses() -> None:
        nonlocal lost
        while True:
            if lost == 2:
                await asyncio.sleep(3600)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            lost += 1

    async def fails() -> None:
        raise ValueError

    async def waits() -> None:
        await asyncio.sleep(3600)

    tasks = [asyncio.create_task(each()) for each in (loses, fails, waits)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await end_tasks(tasks)
    assert all(each.done() for each in tasks)
    assert lost == 2
    assert isinstance(tasks[1].exception(), ValueError)


async def test_without_tasks_it_returns_at_once() -> None:
    """An orderly stop may come before any task was started."""
    ending = asyncio.create_task(end_tasks([]))
    await asyncio.sleep(0)
    assert ending.done()
    assert ending.exception() is None
