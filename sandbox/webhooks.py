"""Send events: late, often, shuffled, and again until the receiver answers 2xx."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import httpx

from sandbox.clock import iso, utc_now
from sandbox.counters import Counters
from sandbox.knob_checks import listed
from sandbox.knobs import Knobs
from sandbox.misbehaviour import Misbehaviour
from sandbox.records import Refused
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
    message: Signed = field(repr=False)
    # pending; then delivered (a 2xx came) or failed (no repeat is left); or at once lost
    # (webhook_times was 0: it can be redelivered) or dropped (too many are pending)
    state: str = "pending"
    redelivers: int | None = None  # the id of the delivery that a person sent again
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    delivered_at: str | None = None


_Held = tuple[Delivery, float]  # with the delay before it is first sent


class Webhooks:
    """Sign and send events. Events that are pending when the process ends are lost."""

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
        """Return the number of events that are held, waiting or being sent."""
        return len(self._tasks) + len(self._held)

    def emit(
        self,
        event: str,
        booking: Mapping[str, Any],
        *,
        times: int | None = None,
        delay_seconds: float | None = None,
    ) -> list[int]:
        """Send an event as the knobs say, without waiting. Return the ids of its deliveries.

        The body and its signature are made now, so later changes do not alter them.
        """
        if self._url is None:
            return []
        if event in listed(self._knobs.webhook_off):
            self._counters.webhooks["switched_off"] += 1
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
        times = self._knobs.webhook_times if times is None else times
        sid = str(booking["sid"])
        if times == 0:
            self._counters.webhooks["lost"] += 1
            self._log(event, sid, message, state="lost")
            return []
        made = [self._send(self._log(event, sid, message), delay) for _ in range(times)]
        return [each.id for each in made if each.state != "dropped"]

    def redeliver(self, delivery_id: int) -> int:
        """Send a logged delivery again at once, the same bytes and signature. Return its new id.

        This is what the provider's Redeliver button does, whatever became of the first delivery.
        Raise Refused 404.
        """
        for old in self.log:
            if old.id == delivery_id:
                again = self._log(old.event, old.booking_sid, old.message)
                again.redelivers = old.id
                self._counters.webhooks["redelivered"] += 1
                return self._send(again, 0.0).id
        raise Refused(404, f"delivery_id: the log of the last {LOG_KEPT} deliveries has none such")

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
        """Return the last deliveries, oldest first."""
        names = [each.name for each in fields(Delivery) if each.name != "message"]
        return [{name: getattr(delivery, name) for name in names} for delivery in self.log]

    def _log(
        self, event: str, booking_sid: str, message: Signed, state: str = "pending"
    ) -> Delivery:
        self._made += 1
        delivery = Delivery(self._made, event, booking_sid, iso(utc_now()), message, state)
        self.log.append(delivery)
        return delivery

    def _send(self, delivery: Delivery, delay: float) -> Delivery:
        if self.pending >= PENDING_MOST:
            self._counters.webhooks["dropped"] += 1
            delivery.state = "dropped"
            return delivery
        self._counters.webhooks["emitted"] += 1
        self._held.append((delivery, delay))
        if len(self._held) >= self._knobs.webhook_shuffle:
            self._let_go()
        elif self._release is None:
            self._release = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._let_go)
        return delivery

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

    async def _deliver(self, delivery: Delivery, delay: float) -> None:
        await asyncio.sleep(delay)
        for attempt in range(1 + RETRIES):
            if attempt:
                self._counters.webhooks["retried"] += 1
                await asyncio.sleep(self._knobs.webhook_retry_seconds * 2 ** (attempt - 1))
            async with self._turn:
                await self._attempt(delivery)
            if delivery.last_status is not None and 200 <= delivery.last_status < 300:
                delivery.state = "delivered"
                delivery.delivered_at = iso(utc_now())
                self._counters.webhooks["delivered"] += 1
                return
        delivery.state = "failed"
        self._counters.webhooks["failed"] += 1

    async def _attempt(self, delivery: Delivery) -> None:
        message = delivery.message
        delivery.attempts += 1
        delivery.last_status = delivery.last_error = None
        headers = {"content-type": "application/json", "user-agent": "sandbox-webhooks"}
        if message.signature is not None:
            headers[SIGNATURE_HEADER] = message.signature
        if self._http is None:
            # No proxy from the environment, because the receiver is on this machine or near it.
            self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        try:
            answer = await self._http.post(self._url or "", content=message.body, headers=headers)
            delivery.last_status = answer.status_code
        except httpx.HTTPError as error:
            delivery.last_error = f"{type(error).__name__}: {error}"[:200]
