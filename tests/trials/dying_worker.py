"""Run `python -m tests.trials.dying_worker STEP N`: a worker that kills itself at a step of top-up.

It dies when it takes the step for the N-th time. A kill -9 from another process would meet a given
step only by chance. The whole process group dies, as with a host.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

STEPS = ("before the call", "after the call", "before the row", "before the pool", "in the pool")


def die() -> None:
    """Die as by kill -9 from outside: nothing is flushed, and no signal handler runs."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def dying(
    function: Callable[..., Awaitable[Any]], *, after: bool, times: int
) -> Callable[..., Awaitable[Any]]:
    """Wrap the function so that its last permitted call kills the process."""
    calls = itertools.count(1)

    async def call(*args: Any, **named: Any) -> Any:
        is_last = next(calls) == times
        if is_last and not after:
            die()
        result = await function(*args, **named)
        if is_last:
            die()
        return result

    return call


def main(step: str, times: int) -> int:
    """Run the worker. This does not return."""
    from pool.ledger.links import Links
    from pool.providers.neetocal import NeetoCal
    from pool.store import Store
    from worker.__main__ import main as work

    at: dict[str, tuple[Any, str, bool]] = {
        "before the call": (NeetoCal, "create_link", False),
        "after the call": (NeetoCal, "create_link", True),
        "before the row": (Links, "insert_fresh", False),
        "before the pool": (Store, "add", False),
        "in the pool": (Store, "add", True),
    }
    owner, name, after = at[step]
    setattr(owner, name, dying(getattr(owner, name), after=after, times=times))
    sys.argv = ["worker", "worker"]
    return work("worker")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2])))
