"""Send notices to the operators' webhook.

Besides the providers, this is the only module that makes HTTP requests to other services.
"""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import structlog
from pydantic import SecretStr

from pool.errors import NotifyFailed
from pool.model.times import to_ms
from pool.model.troubles import Notice
from pool.store import Store, key_names

log = structlog.get_logger()

TIMEOUT_SECONDS = 5.0
ATTEMPTS = 8  # with the waits below, these span twenty minutes
RETRY_SECONDS = 10  # doubled with each attempt
AT_ONCE = 20
# Refusals that may be temporary, so the notice is sent again later.
_LATER = (408, 425, 429)


class Notifier:
    """The operators' webhook. It may be slow, down or misconfigured, so nothing waits for it."""

    def __init__(
        self, url: SecretStr, store: Store, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url
        self._store = store
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, transport=transport, trust_env=False, follow_redirects=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, notice: Notice) -> None:
        """Send one notice now. Raise NotifyFailed, which never contains the webhook's address."""
        try:
            answer = await self._http.post(self._url.get_secret_value(), json=notice.body())
        except httpx.HTTPError as error:
            raise NotifyFailed(f"the webhook does not answer ({type(error).__name__})") from None
        if not answer.is_success:
            status = answer.status_code
            raise NotifyFailed(
                f"the webhook answers {status}", final=status < 500 and status not in _LATER
            )

    async def deliver(self) -> int:
        """Send the notices that are due, in order. Return how many were sent.

        Do nothing while another process is sending. A notice that cannot be sent is retried
        later, up to ATTEMPTS times. A process that is killed after sending a notice and before
        removing it from the outbox causes that notice to be sent twice.
        """
        sent = 0
        seconds = 2 * TIMEOUT_SECONDS
        async with self._store.locks.held(key_names.task_lock("notify"), seconds=seconds) as lock:
            while lock is not None and sent < AT_ONCE:
                now_ms = to_ms(datetime.now(UTC))
                if not (await self._store.alerts.look(now_ms)).due:
                    break
                pending = await self._store.alerts.next()
                if pending is None or not await lock.extend():
                    break
                try:
                    await self.send(pending.notice)
                except NotifyFailed as error:
                    if not error.final and pending.attempts + 1 < ATTEMPTS:
                        wait_ms = RETRY_SECONDS * 2**pending.attempts * 1000
                        await self._store.alerts.postpone(pending, now_ms + wait_ms)
                        log.warning("notice not sent yet", reason=str(error))
                        break
                    log.warning("notice given up", alert=pending.notice.kind, reason=str(error))
                else:
                    sent += 1
                await self._store.alerts.done(pending)
        return sent
