"""Run a TCP proxy on loopback whose faults are switched while connections are open.

It stands between any two parts: before Redis, before the provider, before the API. It runs
in a thread of its own; every method may be called from any other thread.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import uvloop

from pool.up import ports

T = TypeVar("T")
_BUFFER_BYTES = 1 << 20
_CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Faults:
    """The present faults of the line, by default none."""

    delay_seconds: float = 0.0  # each way
    swallow: bool = False  # half-open: connections stand, nothing arrives
    refuse: bool = False  # nobody listens
    cut_chance: float = 0.0  # a request arrives, its reply is lost and the connection with it
    cut_matching: bytes = b""  # only replies to requests that contain this
    cut_off: frozenset[str] = frozenset()  # addresses that reach nobody through here


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target_port`. Chance comes from `seed`."""

    def __init__(self, target_port: int, *, seed: int = 0, port: int | None = None) -> None:
        self.target_port = target_port
        self.port = port or ports.choose()
        self.faults = Faults()
        self.cut = 0  # replies lost so far
        self.accepted = 0  # connections so far
        self.chance = random.Random(seed)
        self.cuts_left = 0  # replies that will be lost whatever the chance
        self.links: set[_Link] = set()
        self._loop = uvloop.new_event_loop()
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._listen)

    # -- switches ------------------------------------------------------------------

    def calm(self) -> None:
        """End all faults. Connections that lost bytes meanwhile end."""

        async def work() -> None:
            self.faults, self.cuts_left = Faults(), 0
            for link in [link for link in self.links if link.torn]:
                link.abort()
            await self._listen()

        self._call(work)

    def heal(self) -> None:
        """Let new bytes pass again. Connections that were half-open stay dead, without any sign to
        either end.
        """
        self._set(swallow=False, delay_seconds=0.0, cut_off=frozenset())

    def delay(self, seconds: float) -> None:
        """Delay everything by this long each way."""
        self._set(delay_seconds=seconds)

    def swallow(self) -> None:
        """Swallow all bytes: connections stand and are accepted, half-open, and nothing arrives any
        more.
        """
        self._set(swallow=True)

    def cut_replies(self, *, count: int = 0, chance: float = 0.0, matching: bytes = b"") -> None:
        """Lose the next `count` replies, and others by `chance`, with their connections.

        The requests have been carried out by then.
        """

        async def work() -> None:
            self.cuts_left = count
            self.faults = replace(self.faults, cut_chance=chance, cut_matching=matching)

        self._call(work)

    def drop(self) -> None:
        """End every connection, once."""

        async def work() -> None:
            for link in list(self.links):
                link.abort()

        self._call(work)

    def refuse(self) -> None:
        """End every connection and stop listening."""

        async def work() -> None:
            self.faults = replace(self.faults, refuse=True)
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            for link in list(self.links):
                link.abort()

        self._call(work)

    def cut_off(self, addresses: Iterable[str]) -> None:
        """Swallow everything that comes from these addresses, and let the rest pass."""
        self._set(cut_off=frozenset(addresses))

    def aim(self, target_port: int) -> None:
        """Send new connections to this port from now on."""
        self.target_port = target_port

    # -- life ----------------------------------------------------------------------

    def close(self) -> None:
        """End every connection and the thread."""
        if not self._thread.is_alive():
            return
        self.refuse()
        self._call(lambda: asyncio.sleep(0.02))  # they close in the next turns
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set(self, **changes: Any) -> None:
        async def work() -> None:
            self.faults = replace(self.faults, **changes)

        self._call(work)

    def _call(self, work: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await self._loop.create_server(
                lambda: _Link(self, self._loop).client, "127.0.0.1", self.port, backlog=1024
            )

    def cuts(self, request: bytes) -> bool:
        """Count this reply. Return True if it is to be lost."""
        faults = self.faults
        if faults.cut_matching not in request:
            return False
        if self.cuts_left > 0:
            self.cuts_left -= 1
        elif not (faults.cut_chance and self.chance.random() < faults.cut_chance):
            return False
        self.cut += 1
        return True


class _Link:
    """One connection through the proxy: its two ends, and what is on the way."""

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy = proxy
        self.loop = loop
        self.client = _End(self, "client")
        self.server = _End(self, "server")
        self.client.other, self.server.other = self.server, self.client
        self.request = b""  # the last that came from the client
        self.torn = False  # bytes were lost: it can never be whole again
        self.source = ""
        self._connecting: asyncio.Task[None] | None = None

    def opened(self) -> None:
        """Take a client that connected."""
        self.proxy.accepted += 1
        self.proxy.links.add(self)
        self._connecting = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self.loop.create_connection(
                lambda: self.server, "127.0.0.1", self.proxy.target_port
            )
        except OSError:
            self.abort()

    def passes(self) -> bool:
        """Return True if bytes get through now."""
        faults = self.proxy.faults
        if faults.swallow or self.source in faults.cut_off:
            self.torn = True
        return not self.torn

    def abort(self) -> None:
        """Reset both ends."""
        self.proxy.links.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        for end in (self.client, self.server):
            if end.transport is not None:
                end.transport.abort()


class _End(asyncio.Protocol):
    """One end of a link: what it receives goes out at the other."""

    def __init__(self, link: _Link, side: str) -> None:
        self.link = link
        self.side = side
        self.other: _End = self
        self.transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()  # when it is due, and what
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        if self.side == "client":
            self.link.source = transport.get_extra_info("peername")[0]
            self.link.opened()
        else:
            self.flush()

    def data_received(self, data: bytes) -> None:
        link = self.link
        if not link.passes():
            return
        if self.side == "client":
            link.request = data
        elif link.proxy.cuts(link.request):
            link.abort()
            return
        delay = link.proxy.faults.delay_seconds
        if delay or self.other._waiting or self.other.transport is None:
            self.other.later(self.link.loop.time() + delay, data)
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)

    def later(self, due: float, data: bytes) -> None:
        """Write data when its time has come and everything before it is written."""
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, data))
        self.flush()

    def flush(self) -> None:
        """Write what is due."""
        self._timer = None
        if self.transport is None:
            return
        while self._waiting and self._waiting[0][0] <= self.link.loop.time():
            data = self._waiting.popleft()[1]
            if self.link.passes() and not self.transport.is_closing():
                self.transport.write(data)
        if self._waiting and self._timer is None:
            self._timer = self.link.loop.call_at(self._waiting[0][0] + 1e-4, self.flush)

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        # An end that died takes the other along, unless the line is dead: then nobody hears.
        if self.link.passes() or self.side == "client":
            self.link.proxy.links.discard(self.link)
            if self.other.transport is not None:
                self.other.transport.abort() if error else self.other.transport.close()
