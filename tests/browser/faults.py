"""Break parts of a running product on purpose, and mend them at the end of the block."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.product import Product, wait_until

# The bytes of SQLite's shared-memory file on which readers and writers of the log hold their locks.
_LOCKS_BEGIN, _LOCKS = 120, 8


@contextmanager
def frozen(product: Product, part: str) -> Iterator[None]:
    """Freeze all processes of a part."""
    pids = product.pids(part)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def killed(product: Product, part: str) -> Iterator[None]:
    """Kill all processes of a part, and freeze those that are started in their place within the
    block.
    """
    before = product.pids(part)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: set(product.pids(part)) - set(before), what=f"{part} is started again")
    with frozen(product, part):
        yield


@contextmanager
def ledger_locked(product: Product) -> Iterator[None]:
    """Lock the ledger, so that it answers neither readers nor writers."""
    with (product.data / "ledger.sqlite3-shm").open("r+b") as shared:
        fcntl.lockf(shared, fcntl.LOCK_EX, _LOCKS, _LOCKS_BEGIN)
        try:
            yield
        finally:
            fcntl.lockf(shared, fcntl.LOCK_UN, _LOCKS, _LOCKS_BEGIN)
