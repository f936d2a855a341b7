"""Extend uvicorn's HTTP protocol with a short cut for claims.

Nearly all claims arrive whole in one read. Such a claim goes from the parser to the claim lane
and from the desk back to the socket: no scope, no task, no messages, one write. If its head
was read before, it skips the parser too. Everything else takes the server's own way through
ASGI: other routes, and a claim that comes in pieces, pipelined, chunked, with a query, over
HTTP/1.0, or with a request to close the connection. Both ways give a claim the same answer, to
the byte.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pool.api.http.framing import StrictProtocol
from pool.api.http.messages import CLAIM_BODY_BYTES, Answer, request_id

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from uvicorn.server import ServerState

    from pool.api.claim_path.claim_lane import Admitted, ClaimLane
    from pool.api.claim_path.known_heads import Headers
    from pool.claims.queue import Receipt

log = structlog.get_logger()

_PREFIX = b"/v1/meetings/"
_SUFFIX = b"/claims"


class ClaimProtocol(StrictProtocol):
    """One connection, on which whole claims take the short cut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sid: str | None = None  # of the claim that is being read
        self._body = b""
        self._in_message = False  # the parser is in a message, or takes no further one
        self._data: bytes | None = None  # the read with which the present message began

    # -- called by the server ---------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Serve what was read from the socket; a claim with a known head needs no parsing."""
        if not self._in_message:
            head = self._known_head(data)
            if head is not None:
                self._unset_keepalive_if_required()
                self._sid, self.headers, self._body = head
                self.begin_claim(None, True)
                return
            self._data = data
        super().data_received(data)
        if self._sid is not None:  # the rest of its body is still to come
            body = self._leave_lane()
            if body and not self.transport.is_closing():
                super().on_body(body)

    # -- called by the parser ---------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a new request; what only the server's way needs is made in `_begin_cycle`."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._past_head = False
        self._in_message = True

    def on_headers_complete(self) -> None:
        """Check a head that was read, and decide which way the request takes."""
        if self.offers_upgrade():
            return
        self.check_head()
        sid = self._claimed_sid()
        if sid is None:
            self._begin_cycle()
        else:
            self._sid = sid

    def on_body(self, body: bytes) -> None:
        """Keep a part of a claim's body, or pass it on."""
        if self._sid is None:
            super().on_body(body)
            return
        self._body += body
        if len(self._body) > CLAIM_BODY_BYTES:
            super().on_body(self._leave_lane())

    def on_message_complete(self) -> None:
        """Serve a claim that is whole, or pass the end of the request on."""
        if self.offers_upgrade():
            return
        data, self._data = self._data, None
        keep_alive = self.parser.should_keep_alive()
        self._in_message = not keep_alive
        if self._sid is None:
            super().on_message_complete()
            return
        self.begin_claim(data, keep_alive)

    def begin_claim(self, data: bytes | None, keep_alive: bool) -> None:
        """Serve a whole claim; `data` is what the parser read its head from, None if it did not."""
        sid, body, self._sid, self._body = self._sid, self._body, None, b""
        assert sid is not None  # noqa: S101 - it is a claim only then
        lane: ClaimLane = self.app.lane
        claim = ClaimInFlight(self, lane, sid)
        claim.keep_alive = keep_alive  # a field after the body may have said "close"
        self.cycle = claim  # type: ignore[assignment]
        headers = self.headers
        claim.begin(body)
        if data is not None and claim.key_id is not None:
            # Only with a good key: other heads must not push out those of callers.
            lane.heads.learn(data, sid, headers, body, claim.key_id)

    def _known_head(self, data: bytes) -> tuple[str, Headers, bytes] | None:
        """Return the parts of a claim whose head is known, if it can take the short cut now."""
        lane = self._open_lane()
        return None if lane is None else lane.heads.find(data)

    def _claimed_sid(self) -> str | None:
        """Return the meeting whose claim this is, if it can take the short cut."""
        url, parser, lane = self.url, self.parser, self._open_lane()
        if (
            lane is None
            or not url.startswith(_PREFIX)
            or not url.endswith(_SUFFIX)
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or self.expect_100_continue
        ):
            return None
        sid = url[len(_PREFIX) : -len(_SUFFIX)].decode("ascii", "replace")
        return sid if lane.knows(sid) else None

    def _open_lane(self) -> ClaimLane | None:
        """Return the lane, if this connection can take the short cut now."""
        cycle = self.cycle
        if (
            self.limit_concurrency is not None
            or self.flow.write_paused  # the client does not read its answers
            or self.transport.is_closing()
            or (cycle is not None and not cycle.response_complete)
        ):
            return None
        # There is no lane before the service is open, nor where a middleware that finds the
        # caller's address wraps the application.
        lane: ClaimLane | None = getattr(self.app, "lane", None)
        return lane

    def _begin_cycle(self) -> None:
        """Take the server's way: do what `on_message_begin` put off, and start the ASGI task."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue, self._past_head = url, expect, True
        self.headers += headers  # in place: the scope holds this very list
        if self.chunks_of is headers:
            self.chunks_of = self.headers
        super().on_headers_complete()

    def _leave_lane(self) -> bytes:
        """Take the server's way after all. Return the body as far as it was read."""
        body, self._sid, self._body = self._body, None, b""
        if not self.transport.is_closing():
            self._begin_cycle()
        return body

    # -- called by the claim ----------------------------------------------------------

    def answered(self, keep_alive: bool) -> None:
        """Go on with the connection after a claim's answer was written."""
        if not keep_alive:
            self.leave()
        if self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1


class ClaimInFlight:
    """One claim on the short cut: a waiter for the desk, and a cycle for the server."""

    __slots__ = (
        "_admitted",
        "_headers",
        "_lane",
        "_protocol",
        "_sid",
        "_started",
        "disconnected",
        "keep_alive",
        "message_event",
        "response_complete",
    )

    def __init__(self, protocol: ClaimProtocol, lane: ClaimLane, sid: str) -> None:
        self._protocol = protocol
        self._lane = lane
        self._sid = sid
        # The connection may read its next request before this one is answered.
        self._headers = protocol.headers
        self._started = time.perf_counter()
        self._admitted: Admitted | None = None
        # The attributes that the server reads and sets in its cycles.
        self.response_complete = False
        self.keep_alive = True
        self.disconnected = False
        self.message_event: _NobodyWaits | _Alarm = _NOBODY_WAITS

    @property
    def key_id(self) -> str | None:
        """Return the id of the claim's key once it was admitted, else None."""
        return None if self._admitted is None else self._admitted.caller.key_id

    def begin(self, body: bytes) -> None:
        """Put the claim in line, or answer with what is wrong with it."""
        client = self._protocol.client
        try:
            admitted = self._admitted = self._lane.admit(
                self._sid, self._headers, client[0] if client else ""
            )
            admitted.read(body)
            self._lane.join(admitted, self)
        except Exception as error:  # noqa: BLE001 - the lane has an answer for each
            if wait := self._lane.wait_seconds(error):
                alarm = self._protocol.loop.call_later(wait, self.set_exception, error)
                self.message_event = _Alarm(alarm)
            else:
                self.set_exception(error)

    def done(self) -> bool:
        """Return True if nobody waits for the answer any more."""
        return self.disconnected or self.response_complete

    def set_result(self, receipt: Receipt) -> None:
        """Answer with the claim. Never raise, because the desk has others to serve after this."""
        assert self._admitted is not None  # noqa: S101 - it is in line only then
        try:
            answer = self._lane.answer(self._admitted, receipt)
        except Exception as error:  # noqa: BLE001 - `refusal` has an answer for each
            self.set_exception(error)
        else:
            self._write(answer)

    def set_exception(self, error: BaseException) -> None:
        """Answer with the reason why there is no claim. Never raise."""
        if self._admitted is not None:
            self._lane.give_back(self._admitted)
        self._write(self._lane.refusal(self._sid, error))

    def _write(self, answer: Answer) -> None:
        protocol = self._protocol
        transport = protocol.transport
        self._lane.observe(time.perf_counter() - self._started)
        self.response_complete = True
        if transport.is_closing():
            return
        try:
            status, headers, body = answer
            transport.write(
                b"%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b"
                % (
                    STATUS_LINE[status],
                    _defaults(protocol.server_state),
                    _lines(tuple(headers)),
                    request_id(self._headers),
                    len(body),
                    b"" if self.keep_alive else b"connection: close\r\n",
                    body,
                )
            )
            protocol.answered(self.keep_alive)
        except Exception:
            log.exception("claim not answered", meeting=self._sid)
            transport.abort()


class _Alarm:
    """A stand-in for that event where a refusal waits: it is dropped with the connection."""

    def __init__(self, alarm: TimerHandle) -> None:
        self._alarm = alarm

    def set(self) -> None:
        """Drop the refusal; the server calls this when the connection is lost."""
        self._alarm.cancel()


class _NobodyWaits:
    """A stand-in for the event of a server's cycle, for which nobody waits here."""

    def set(self) -> None:
        """Do nothing; the server calls this when the connection is lost."""


_NOBODY_WAITS = _NobodyWaits()


@lru_cache(maxsize=64)
def _lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


_made: tuple[Any, bytes] = (None, b"")


def _defaults(server_state: ServerState) -> bytes:
    """Return the server's own header lines; it makes a new list of them each second."""
    global _made
    headers = server_state.default_headers
    if _made[0] is not headers:
        _made = (headers, _lines(tuple(headers)))
    return _made[1]
