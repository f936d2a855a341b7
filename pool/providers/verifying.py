"""Verify large webhooks in a thread beside the event loop, one at a time.

Anyone who knows the address of a webhook can send 256 KiB without a valid signature. Finding that
out takes about a millisecond at most, in which no claim should wait, and at most one core. A
webhook is never refused because others wait: it may be genuine, and its sender would only try again
after five minutes. Bodies that wait take no memory that they would not take anyway, since they have
arrived; the number of connections bounds them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pool.providers.base import Provider

AT_ONCE_BYTES = 8 * 1024  # the size of real ones; verifying takes about as long as using a thread


class Verifier:
    """Verifies webhooks for one process."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verify")

    async def verify(self, provider: Provider, body: bytes, signatures: Sequence[str]) -> None:
        """Return if the webhook's signature is valid. Raise BadSignature if it is not."""
        if len(body) <= AT_ONCE_BYTES:
            provider.verify(body, signatures)
            return
        await asyncio.get_running_loop().run_in_executor(
            self._thread, provider.verify, body, signatures
        )
