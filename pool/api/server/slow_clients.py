"""Bound the time and the bytes that a client may take.

uvicorn bounds how long an idle connection is kept, and nothing else: a client that sends a
head byte by byte, announces a body that never comes, or reads no answer would be kept for
ever. Here one sweep a second looks at what each open connection waits for, so that a request
needs no timer of its own. The bytes of a request are bounded as they arrive.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pool.access.limits import network_of
from pool.api.claim_path.http_protocol import ClaimProtocol
from pool.api.http.leaving import UNREAD_SECONDS
from pool.api.http.messages import BODY_SECONDS, WEBHOOK_BODY_BYTES, body_limit_bytes
from pool.api.server.crowd import Crowd
from pool.api.server.holding import HELD_BYTES, Holding
from pool.api.server.refusing import Refusal, problem, too_many

if TYPE_CHECKING:
    from pool.api.claim_path.claim_lane import ClaimLane

HEAD_LIMIT_BYTES = 32 * 1024
# A body in chunks of a few bytes is several times as long on the wire.
REQUEST_BYTES = HEAD_LIMIT_BYTES + 4 * WEBHOOK_BODY_BYTES
CONNECTIONS = 10_000  # per process, if there are as many file descriptors
_KEPT_DESCRIPTORS = 80  # for Redis, the ledger, the provider and files

SWEEP_SECONDS = 1.0
HEAD_SECONDS = 10.0
IDLE_SECONDS = 10.0  # beyond the server's own keep-alive, for clients that evade it
CROWDED_IDLE_SECONDS = 1.0  # once nine tenths of the connections are taken

Phase = Literal["head", "body", "answer", "unread", "idle"]


class SlowClients:
    """The watch over one server process that ends connections which take too long."""

    def __init__(
        self, connections: Collection[Any], loop: asyncio.AbstractEventLoop, most: int
    ) -> None:
        self.connections = connections
        self._loop = loop
        self._most = most
        self._crowd = Crowd(most)
        self._timer: asyncio.TimerHandle | None = None

    def arrived(self, protocol: GuardedProtocol) -> None:
        """Watch a new connection; refuse it if there are too many, in all or of its address."""
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_SECONDS, self.sweep)
        excess = len(self.connections) - self._most
        if excess > _KEPT_DESCRIPTORS // 2:
            protocol.transport.abort()  # no descriptors left even for an answer
        elif excess > 0:
            protocol.app = too_many
        elif not self._crowd.admits(protocol):
            protocol.transport.abort()

    def sweep(self) -> None:
        """Look at every connection once; run again in SWEEP_SECONDS if there are any."""
        now = self._loop.time()
        crowded = len(self.connections) > 0.9 * self._most
        # Websocket protocols would be in the list too; linkpool has none.
        ours = [each for each in self.connections if isinstance(each, GuardedProtocol)]
        for protocol in ours:
            protocol.look(now, crowded=crowded)
        self._crowd.look(self.connections, ours)
        self._timer = self._loop.call_later(SWEEP_SECONDS, self.sweep) if self.connections else None


class GuardedProtocol(Holding, ClaimProtocol):
    """The protocol of claims, with bounds on the time and the bytes a client may take."""

    slow_clients: ClassVar[SlowClients | None] = None

    # A request is identified by its list of headers: each request has a new list.
    _whole: Any = None  # the last request that arrived whole
    # What the connection waits for, in which request, and since when, as of the last sweep.
    _phase: Phase = "head"
    _phase_of: Any = None
    _phase_since: float | None = None
    # The bytes of the request that is still arriving, and that request.
    _bytes: int = 0
    _bytes_of: Any = None
    _maybe_large: bool = False  # heads may be too large here, so they are measured
    _refused: bool = False
    # True if a good key was seen at the last look, and the request it was in.
    _keyed: bool = False
    _keyed_of: Any = None

    def connection_made(self, transport: Any) -> None:
        """Start to watch this connection."""
        super().connection_made(transport)
        watch = GuardedProtocol.slow_clients
        if watch is None or watch.connections is not self.connections:
            watch = SlowClients(self.connections, self.loop, connections_most())
            GuardedProtocol.slow_clients = watch
        watch.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Serve the bytes that arrived, nearly always one whole request, and count the others."""
        if len(data) > self.slice_bytes:
            self.hold(data)
            return
        super().data_received(data)
        if self.headers is not self._whole:
            self._arrives_in_pieces(len(data))

    def on_headers_complete(self) -> None:
        """Refuse a whole head if it is too large, else go on with it."""
        if self._maybe_large and self._head_bytes() > HEAD_LIMIT_BYTES:
            self.reject(f"over {HEAD_LIMIT_BYTES // 1024} KiB of headers", "headers-too-large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is whole, and go on with it."""
        self._whole = self.headers
        super().on_message_complete()

    def begin_claim(self, data: bytes | None, keep_alive: bool) -> None:
        """Note that the claim is whole, and go on with it."""
        self._whole = self.headers
        super().begin_claim(data, keep_alive)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or what a callback of the parser rejected."""
        self.refuse(self.flaw_name, msg)

    def refuse(self, name: str, detail: str) -> None:
        """Answer with the problem of this name, in its turn, and end the connection.

        Nothing more is read. Requests that arrived whole before are answered first; otherwise
        the client would take the refusal for the answer to one of them.
        """
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._sid, self._body = None, b""
        refusal = Refusal(self, problem(name, detail))
        cycle = self.cycle
        if self._in_body():
            if self.pipeline:
                self.pipeline[0] = (refusal, self.app)  # type: ignore[assignment]
            elif cycle.response_started:  # the request already has its answer
                refusal.leave()
            else:
                refusal.say()
            cycle.disconnected = True
            cycle.message_event.set()
        elif cycle is None or cycle.response_complete:
            refusal.say()
        else:
            self.pipeline.appendleft((refusal, self.app))  # type: ignore[arg-type]

    def still_read(self) -> bool:
        """Return True unless the connection was refused or is closing."""
        return not self._refused and super().still_read()

    def held_too_much(self) -> None:
        """Refuse a client that sends on while its requests wait."""
        self.refuse("too-large", f"over {HELD_BYTES // 1024} KiB of requests wait for answers")

    def look(self, now: float, *, crowded: bool) -> None:
        """End the connection if it has waited too long for one thing."""
        phase = self._waits_for()
        if self._refused and phase != "unread":
            return
        if self._phase_since is None or phase != self._phase or self._phase_of is not self.headers:
            self._phase, self._phase_of, self._phase_since = phase, self.headers, now
            return
        waited = now - self._phase_since
        if phase == "head" and waited >= HEAD_SECONDS:
            self.refuse("request-timeout", f"the headers took longer than {HEAD_SECONDS:g} s")
        elif phase == "body" and waited >= BODY_SECONDS:
            self.refuse("request-timeout", f"the body took longer than {BODY_SECONDS:g} s")
        elif phase == "idle" and waited >= (
            CROWDED_IDLE_SECONDS if crowded else self.timeout_keep_alive + IDLE_SECONDS
        ):
            self.transport.close()
        elif phase == "unread" and waited >= UNREAD_SECONDS:
            self.transport.abort()

    def stranger(self) -> str | None:
        """Return the network of a client that has shown no good key, or None for all others.

        None, too, for what a trusted proxy sends.
        """
        lane = self.lane_of()
        if lane is None or self._keyed or self.client is None:
            return None
        address = self.client[0]
        if self._whole is not self._keyed_of:
            self._keyed_of = self._whole
            self._keyed = lane.knows_key(self._whole)
        return None if self._keyed or lane.trusts(address) else network_of(address)

    def lane_of(self) -> ClaimLane | None:
        """Return the claim lane, which knows keys and proxies, or None before there is one."""
        lane: ClaimLane | None = getattr(self.app, "lane", None)
        return lane

    def waits_since(self) -> float:
        """Return since when the connection waits for the same thing, as of the last sweep."""
        return self.loop.time() if self._phase_since is None else self._phase_since

    def _waits_for(self) -> Phase:
        if self.transport.is_closing() or self.flow.write_paused:
            return "unread"
        if self.pipeline:
            return "answer"  # to an earlier request; nothing more is read meanwhile
        if self.headers is None or self.headers is not self._whole:
            return "body" if self._in_body() else "head"
        return "idle" if self.cycle is None or self.cycle.response_complete else "answer"

    def _in_body(self) -> bool:
        """Return True if the head of the request that is arriving has been read."""
        scope = getattr(self.cycle, "scope", None)  # a claim on the short cut has none
        return (
            scope is not None
            and scope["headers"] is self.headers
            and self.headers is not self._whole
        )

    def _arrives_in_pieces(self, size: int) -> None:
        if self._bytes_of is not self.headers:
            # The read may also hold the end of the previous request: count what was parsed.
            self._bytes_of = self.headers
            self._bytes = self._head_bytes()
            self._maybe_large = True
        else:
            self._bytes += size
        if self._bytes > HEAD_LIMIT_BYTES and not self._in_body():
            self.refuse("headers-too-large", f"the headers exceed {HEAD_LIMIT_BYTES // 1024} KiB")
        elif self._bytes > REQUEST_BYTES and self._bytes > (most := self._most_bytes()):
            self.refuse("too-large", f"the request exceeds {most // 1024} KiB")

    def _most_bytes(self) -> int:
        """Return how many bytes the request that is arriving may take."""
        path = self.url.partition(b"?")[0].decode("latin-1")
        return max(REQUEST_BYTES, HEAD_LIMIT_BYTES + 4 * body_limit_bytes(path))

    def _head_bytes(self) -> int:
        # Each header has ": " and a line end, 4 bytes, besides name and value.
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)


def connections_most() -> int:
    """Return how many connections this process accepts; more would use up its file descriptors."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(CONNECTIONS, descriptors - _KEPT_DESCRIPTORS))
