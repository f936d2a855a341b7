"""Refuse an action before it begins, while the ledger takes no writes.

An action takes several steps, and the ledger may have good reason to be slow in each of them. So
each step keeps its full time limit, and one short question comes before all of them.
"""

from __future__ import annotations

import time

from pool.errors import LedgerUnavailable
from pool.ledger import Ledger
from pool.ledger.deadline import within

PATIENCE_SECONDS = 2.5
TRUST_SECONDS = 1.0  # for which the ledger is believed to take writes; bulk calls ask once


class LedgerReady:
    """Knows whether the ledger takes writes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._wrote_at = -TRUST_SECONDS

    async def check(self) -> None:
        """Return if the ledger takes writes. Raise LedgerUnavailable in time if it does not.

        A question that was given up changes nothing, even if the ledger takes it later.
        """
        if time.monotonic() - self._wrote_at < TRUST_SECONDS:
            return
        try:
            with within(PATIENCE_SECONDS):
                await self._ledger.ping()
        except LedgerUnavailable as error:
            raise LedgerUnavailable(
                f"{error}; nothing was done, so try again later", refusal=error.refusal
            ) from error
        self._wrote_at = time.monotonic()
