"""Verify large webhooks in a thread beside the event loop, one at a time.

Anyone who knows the address of a webhook can send 256 KiB without a valid signature. Finding
that out takes some milliseconds, in which no claim should wait, and at most one core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pool.errors import RateLimited
from pool.providers.base import Provider

AT_ONCE_BYTES = 8 * 1024  # the size of real ones; verifying takes about as long as using a thread
WAITING = 64  # 16 MiB of bodies; beyond them a sender is asked to try again


class Verifier:
    """Verifies webhooks for one process."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self._waiting = 0

    async def verify(self, provider: Provider, body: bytes, signatures: Sequence[str]) -> None:
        """Return if the webhook's signature is valid.

        Raise BadSignature if it is not, and RateLimited if too many large webhooks wait.
        """
        if len(body) <= AT_ONCE_BYTES:
            provider.verify(body, signatures)
            return
        if self._waiting >= WAITING:
            raise RateLimited("too many large webhooks have arrived at once")
        self._waiting += 1
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._thread, provider.verify, body, signatures
            )
        finally:
            self._waiting -= 1
