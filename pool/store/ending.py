"""End tasks that use Redis, also when a cancellation is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.2


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, again and again while any of them goes on, and return once all have ended.

    redis-py writes within `asyncio.wait_for`, which before Python 3.12 loses a cancellation that
    comes in the moment in which the write is done. A task that repeats itself would go on for ever.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        done, waiting = await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
        for task in done:
            if not task.cancelled():
                task.exception()  # looked at, or asyncio complains that nobody did
