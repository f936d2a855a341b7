"""Run `python -m tests.trials.dying_worker STEP N`: a worker that is killed at that step of top-up,
when it takes it for the N-th time.

A process of its own, since kill -9 from outside would meet a given step only by chance. The
whole process group dies, as with a host.
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
    """Die as by kill -9 from outside: nothing is flushed, no signal handler runs."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def dying(
    function: Callable[..., Awaitable[Any]], *, after: bool, times: int
) -> Callable[..., Awaitable[Any]]:
    """Wrap the function, so that it kills the process the last time it is called."""
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
    """Run the worker; it does not return."""
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
