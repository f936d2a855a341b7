"""Sending events: late, often, shuffled, and again until somebody answers 2xx."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from sandbox.clock import iso, utc_now
from sandbox.counters import Counters
from sandbox.knobs import Knobs
from sandbox.misbehaviour import Misbehaviour
from sandbox.signing import SIGNATURE_HEADER, Signed, signed

RETRIES = 6
TIMEOUT_SECONDS = 10
HOLD_SECONDS = 1.0  # how long the knob webhook_shuffle keeps an event at most
LOG_KEPT = 1000
PENDING_MOST = 20_000
AT_ONCE = 20


@dataclass(slots=True)
class Delivery:
    """One event on its way to the webhook's URL."""

    id: int
    event: str
    booking_sid: str
    created_at: str
    state: str = "pending"  # then delivered (a 2xx came) or failed (no repeat is left)
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    delivered_at: str | None = None


_Held = tuple[Delivery, Signed, float]  # with the delay before it is first sent


class Webhooks:
    """Signs and sends events. What is pending when the process ends is lost with it."""

    def __init__(
        self,
        knobs: Knobs,
        counters: Counters,
        chance: Misbehaviour,
        *,
        url: str | None,
        secret: str,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.log: deque[Delivery] = deque(maxlen=LOG_KEPT)
        self._knobs = knobs
        self._counters = counters
        self._chance = chance
        self._url = url
        self._secret = secret
        self._http = http
        self._made = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[_Held] = []
        self._release: asyncio.TimerHandle | None = None
        self._turn = asyncio.Semaphore(AT_ONCE)

    @property
    def pending(self) -> int:
        """Events that are held, waiting or being sent."""
        return len(self._tasks) + len(self._held)

    def emit(
        self,
        event: str,
        booking: Mapping[str, Any],
        *,
        times: int | None = None,
        delay_seconds: float | None = None,
    ) -> list[int]:
        """Send an event as the knobs say; the ids of its deliveries. Never waits.

        The body and its signature are made now, so later changes do not alter them.
        """
        if self._url is None:
            return []
        payload: dict[str, Any] = {"event": event, "booking": dict(booking)}
        if self._knobs.webhook_wrapped:
            payload = {"webhook": payload}
        message = signed(
            payload,
            secret=self._secret,
            escape=self._knobs.webhook_escape,
            wrong=self._knobs.webhook_wrong_signature,
        )
        delay = self._knobs.webhook_delay_seconds if delay_seconds is None else delay_seconds
        ids = []
        for _ in range(self._knobs.webhook_times if times is None else times):
            if self.pending >= PENDING_MOST:
                self._counters.webhooks["dropped"] += 1
                continue
            self._made += 1
            delivery = Delivery(self._made, event, str(booking["sid"]), iso(utc_now()))
            self.log.append(delivery)
            self._counters.webhooks["emitted"] += 1
            ids.append(delivery.id)
            self._hold(delivery, message, delay)
        return ids

    async def aclose(self) -> None:
        """Stop sending at once."""
        if self._release is not None:
            self._release.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    def log_as_dicts(self) -> list[dict[str, Any]]:
        """The last deliveries, oldest first."""
        return [asdict(delivery) for delivery in self.log]

    def _hold(self, delivery: Delivery, message: Signed, delay: float) -> None:
        self._held.append((delivery, message, delay))
        if len(self._held) >= self._knobs.webhook_shuffle:
            self._let_go()
        elif self._release is None:
            self._release = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._let_go)

    def _let_go(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        held, self._held = self._held, []
        if len(held) > 1:
            self._chance.shuffle(held)
        for each in held:
            task = asyncio.create_task(self._deliver(*each))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, message: Signed, delay: float) -> None:
        await asyncio.sleep(delay)
        for attempt in range(1 + RETRIES):
            if attempt:
                self._counters.webhooks["retried"] += 1
                await asyncio.sleep(self._knobs.webhook_retry_seconds * 2 ** (attempt - 1))
            async with self._turn:
                await self._attempt(delivery, message)
            if delivery.last_status is not None and 200 <= delivery.last_status < 300:
                delivery.state = "delivered"
                delivery.delivered_at = iso(utc_now())
                self._counters.webhooks["delivered"] += 1
                return
        delivery.state = "failed"
        self._counters.webhooks["failed"] += 1

    async def _attempt(self, delivery: Delivery, message: Signed) -> None:
        delivery.attempts += 1
        delivery.last_status = delivery.last_error = None
        headers = {"content-type": "application/json", "user-agent": "sandbox-webhooks"}
        if message.signature is not None:
            headers[SIGNATURE_HEADER] = message.signature
        if self._http is None:
            # No proxy from the environment: the receiver stands on this machine or close by.
            self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        try:
            answer = await self._http.post(self._url or "", content=message.body, headers=headers)
            delivery.last_status = answer.status_code
        except httpx.HTTPError as error:
            delivery.last_error = f"{type(error).__name__}: {error}"[:200]
