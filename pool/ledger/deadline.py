"""Bound the time of all statements that one request runs on the ledger.

A sender of webhooks waits some ten seconds for its answer. Each statement has a limit of its own,
but several in a row would each wait as long as the first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

REQUEST_SECONDS = 6.5  # so that every answer comes within eight
MIGRATION_SECONDS = 600  # for an index on a large table, or a file that is rewritten


@dataclass(slots=True)
class Deadline:
    """The time by which the work of one request must be done."""

    ends_at: float
    over: bool = False  # a task that outlives the request has its own time again

    def lift(self) -> None:
        """Lift the bound: the answer has begun, and may be a stream that lasts."""
        self.over = True


_present: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float = REQUEST_SECONDS) -> Iterator[Deadline]:
    """Give all work on ledgers in this block, and in the tasks it starts, this time in all.

    Within another such block, the sooner end counts.
    """
    deadline = Deadline(time.monotonic() + min(seconds, left_seconds(seconds)))
    token = _present.set(deadline)
    try:
        yield deadline
    finally:
        deadline.lift()
        _present.reset(token)


def is_bounded() -> bool:
    """Return True in a block of `within`."""
    deadline = _present.get()
    return deadline is not None and not deadline.over


def left_seconds(otherwise: float) -> float:
    """Return the time that is left, at most `otherwise`; without a bound, `otherwise`."""
    deadline = _present.get()
    if deadline is None or deadline.over:
        return otherwise
    return min(otherwise, max(0.0, deadline.ends_at - time.monotonic()))
