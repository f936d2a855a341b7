"""Run many customers who claim over keep-alive connections, and note their answers.

They run in a thread with an event loop of its own; a connection is one asyncio protocol without
streams or tasks, so that one core of this side keeps several of the other busy.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import uvloop

from tests.trials.harness.answers import Tape

PATIENCE_SECONDS = 10.0  # every claim must be answered by then
_PAUSE_SECONDS = 0.15  # before a customer who was refused, or cut off, comes again
_KEPT = 20_000  # customers of before, of whom some come again


class Crowd:
    """Customers of one meeting, at several servers.

    `total`: the number of new customers; None: until `stop`. `again`: the share of claims that an
    earlier customer repeats, to check that the link is still theirs. `persist`: True if a refused
    customer comes again until served.
    """

    def __init__(
        self,
        tape: Tape,
        ports: list[int],
        meeting: str,
        key: str,
        *,
        seed: int,
        connections: int = 50,
        total: int | None = None,
        again: float = 0.1,
        persist: bool = True,
        hang_up: float = 0.0,
        hang_ups: int | None = None,
        pause_seconds: float = 0.0,
        everybody: str = "",
        name: str = "",
    ) -> None:
        self.tape = tape
        self.meeting = meeting
        self.chance = random.Random(seed)
        self.again = again
        self.persist = persist
        self.hang_up = hang_up  # the chance that a customer leaves before the answer
        self.hang_ups = hang_ups  # so many of them leave; None: whoever chance says
        self.everybody = everybody  # all claim as this customer
        self.pause_seconds = pause_seconds  # between an answer and the next claim
        self.asked = self.answered = self.hung_up = 0
        self.wrong: list[str] = []  # answers that were not for whoever asked
        self.known: deque[str] = deque(maxlen=_KEPT)
        self.retries: deque[str] = deque()  # who was refused, and holds no link yet
        self.returning: deque[str] = deque()  # who holds one, and was refused
        self.served: set[str] = set()  # of them some may be no longer among the known
        self._prefix = name or f"{meeting}-{seed}"
        self._numbers = itertools.count() if total is None else iter(range(total))
        self._lines = [(port, port_head(port, meeting, key)) for port in ports]
        self._connections = connections
        self._loop = uvloop.new_event_loop()
        self._open: set[_Customer] = set()  # with work
        self._stopping = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)

    def start(self) -> Crowd:
        """Begin to claim."""
        self._thread.start()
        return self

    def wait(self, seconds: float) -> bool:
        """Return True if all of them were served, or given up, within that time."""
        return self._done.wait(seconds)

    def stop(self) -> None:
        """Let no new customer come. Return once those who wait were answered or have left."""
        self._stopping = True
        self._done.wait(PATIENCE_SECONDS + 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Go on claiming until that is so."""
        until(condition, seconds, f"claims go on; refused so far: {dict(self.tape.refusals)}")

    def serves_after(self, moment: float, seconds: float) -> float:
        """Return the seconds from a moment (since 1970) until the next new link was answered."""
        count = len(self.tape.claims)

        def served() -> float:
            for claim in self.tape.claims[count:]:
                if not claim.reused and claim.at_seconds > moment:
                    return claim.at_seconds
            return 0.0

        until(served, seconds, f"a new link is answered; refused: {dict(self.tape.refusals)}")
        return served() - moment

    def run(self, seconds: float) -> None:
        """Run all customers, from the first to the last."""
        self.start()
        try:
            assert self.wait(seconds), f"not served within {seconds:g} s: {self.tape.refusals}"
        finally:
            self.stop()

    # -- inside the thread -----------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        customers = []
        for number in range(self._connections):
            port, head = self._lines[number % len(self._lines)]
            customer = _Customer(self, self._loop, port, head)
            customers.append(customer)
            customer.call()
        self._loop.call_later(1.0, self._watch)
        self._loop.run_forever()
        for customer in customers:
            customer.leave()
        self._loop.run_until_complete(asyncio.sleep(0.02))  # they close in the next turns
        self._loop.close()

    def _watch(self) -> None:
        """Note each answer that does not come, so that no customer waits for ever."""
        now = time.monotonic()
        for customer in list(self._open):
            if customer.customer and now - customer.since > PATIENCE_SECONDS:
                self.tape.refused("no answer")
                customer.leave()
        self._loop.call_later(0.5, self._watch)

    def next(self) -> str | None:
        """Return the next claim, or None if nobody claims for now."""
        if self._stopping:
            return None
        # Before those who wait: an empty pool must not keep away who holds a link.
        # And who holds a link comes in the turns of their like: after an outage there are
        # thousands of them, and nobody new would come for a long time.
        if self.known and self.chance.random() < self.again:
            if self.returning:
                return self.returning.popleft()
            return self.known[self.chance.randrange(len(self.known))]
        if self.retries:
            return self.retries.popleft()
        number = next(self._numbers, None)
        if number is None:
            return self.returning.popleft() if self.returning else None
        return self.everybody or f"{self._prefix}-{number:08d}"

    def entered(self, customer: _Customer) -> None:
        """Count a connection that has work."""
        self._open.add(customer)
        self.asked += 1

    def idle(self, customer: _Customer) -> None:
        """Count a connection that has none."""
        self._open.discard(customer)
        if not self._open and (self._stopping or not (self.retries or self.returning)):
            self._done.set()

    def leaves(self) -> bool:
        """Return True if the customer who claims now will not wait for the answer."""
        if not self.hang_up or (self.hang_ups is not None and self.hung_up >= self.hang_ups):
            return False
        return self.chance.random() < self.hang_up

    @property
    def finished(self) -> bool:
        """Return True if there are no more claims."""
        return self._done.is_set()

    def again_later(self, customer: str) -> None:
        """Let a customer who was not served return later."""
        if self.persist and not self._stopping:
            (self.returning if customer in self.served else self.retries).append(customer)


class _Customer(asyncio.Protocol):
    """One connection, which the customers use in turn."""

    def __init__(
        self, crowd: Crowd, loop: asyncio.AbstractEventLoop, port: int, head: bytes
    ) -> None:
        self.crowd = crowd
        self.loop = loop
        self.port = port
        self.head = head
        self.transport: Any = None
        self.customer = ""  # who waits for an answer
        self.since = 0.0
        self._received = b""

    def call(self) -> None:
        """Send the next claim."""
        if not self.customer:
            following = self.crowd.next()
            if following is None:
                self.crowd.idle(self)
                if not self.crowd.finished:
                    self.loop.call_later(_PAUSE_SECONDS, self.call)
                return
            self.customer = following
            self.since = time.monotonic()
            self.crowd.entered(self)
        if self.transport is None:
            task = self.loop.create_task(self._connect())
            task.add_done_callback(lambda task: task.exception())
            return
        body = b'{"customer_id":"%b"}' % self.customer.encode()
        self.transport.write(self.head % len(body) + body)
        if self.crowd.leaves():
            delay = self.crowd.chance.random() * 0.004
            self.loop.call_later(delay, self._hang_up, self.customer)

    async def _connect(self) -> None:
        try:
            await self.loop.create_connection(lambda: self, "127.0.0.1", self.port)
        except OSError:
            self._failed("not reached")

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._received = b""
        if self.customer:
            self.call()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._received.find(b"content-length: ", 0, end)
        length = int(self._received[at + 16 : self._received.find(b"\r", at)])
        if len(self._received) < end + 4 + length:
            return
        head, body = self._received[:end], self._received[end + 4 : end + 4 + length]
        self._received = self._received[end + 4 + length :]
        self._answered(int(head[9:12]), head, body)

    def _answered(self, status: int, head: bytes, body: bytes) -> None:
        crowd, customer, self.customer = self.crowd, self.customer, ""
        crowd.tape.took(time.monotonic() - self.since)
        if status in (200, 201):
            crowd.answered += 1
            answer = json.loads(body)
            claim = answer["claim"]
            if claim["customer_id"] != customer:
                crowd.wrong.append(f"{customer} was given what is {claim['customer_id']}'s")
            crowd.tape.claimed(
                self.port, crowd.meeting, customer, claim["slug"], status, answer["reused"]
            )
            if status == 201:
                crowd.known.append(customer)
                crowd.served.add(customer)
            pause = crowd.pause_seconds
        else:
            crowd.tape.refused(_refusal(status, head, body))
            crowd.again_later(customer)
            pause = _PAUSE_SECONDS if crowd.persist else 0.0
        if b"\r\nconnection: close" in head.lower():
            self.leave()
        if pause:
            self.loop.call_later(pause, self.call)
        else:
            self.call()

    def _hang_up(self, customer: str) -> None:
        if self.customer == customer:
            self.crowd.hung_up += 1
            self.leave()

    def leave(self) -> None:
        """Close the connection, answered or not."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.customer:
            self._failed("connection lost")

    def _failed(self, what: str) -> None:
        customer, self.customer = self.customer, ""
        self.crowd.tape.refused(what)
        self.crowd.again_later(customer)
        self.loop.call_later(_PAUSE_SECONDS, self.call)


def port_head(port: int, meeting: str, key: str) -> bytes:
    """Return the head of a claim, with a place for the length of its body."""
    return (
        f"POST /v1/meetings/{meeting}/claims HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"X-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()


def _refusal(status: int, head: bytes, body: bytes) -> str:
    """Return the kind of a refusal, and True if it has the form of a problem."""
    try:
        name = json.loads(body)["type"].rpartition("/")[2]
    except (ValueError, KeyError, TypeError):
        return f"{status} without a problem"
    if status == 503 and b"\r\nretry-after: " not in head.lower():
        return f"{status} {name} without Retry-After"
    return f"{status} {name}"


def until(condition: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
    """Return what `condition` returns once that is true. Fail after `seconds`, but not before a
    minute is over, saying `what` was not.

    It is asked ever more seldom, so that a long wait leaves the machine to what is waited for.
    """
    seconds = max(seconds, 60.0)  # what a wait may cost is measured where it is promised
    deadline = time.monotonic() + seconds
    pause_seconds = 0.02
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
            )
        time.sleep(pause_seconds)
        pause_seconds = min(1.15 * pause_seconds, 0.2)
    return found
