"""Run the background work of an API process, a step every so often."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import structlog

from pool.errors import LinkpoolError

log = structlog.get_logger()


async def repeat(
    what: str, seconds: float | Callable[[], float], step: Callable[[], Awaitable[object]]
) -> None:
    """Run a step every `seconds` until it is cancelled; `seconds` may change from step to step.

    Steps of a process come together, so that an idle one wakes seldom: to wake costs more than
    most of them. A LinkpoolError is logged at the first failure in a row only.
    """
    failing = False
    task = asyncio.current_task()
    # A library that loses the cancellation of a step, as it may while it connects, must not keep
    # the process from stopping.
    while task is None or not task.cancelling():
        await asyncio.sleep(_until_next(seconds() if callable(seconds) else seconds))
        try:
            await step()
            failing = False
        except LinkpoolError as error:
            if not failing:
                log.warning("background step failed", step=what, reason=str(error))
            failing = True
        except Exception:
            log.exception("background step failed", step=what)


def _until_next(every: float) -> float:
    """Return the seconds until this process's next common moment, at least a fifth of `every`.

    The moments of several processes on one machine differ.
    """
    if not every:
        return 0.0
    left = every - (time.monotonic() + os.getpid() % 100 / 100) % every
    return left if left >= every / 5 else left + every
