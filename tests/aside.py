"""Do asynchronous work beside the loop of a test that may be running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pool.ledger import Ledger


def in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run this in a loop of its own, and return when it has ended."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def migrated(database_url: str) -> None:
    """Make all tables of a ledger."""
    ledger = Ledger.open(database_url)
    await ledger.upgrade()
    await ledger.close()
