"""Read HTTP strictly, so that everybody agrees where a request begins and ends.

A proxy and this server read the same stream of bytes and must agree on every border in it;
otherwise one client's body becomes another's request. llhttp refuses nearly all that could be
read in two ways. The rest is done here: nothing is upgraded, a field after the head is never
a header, and a head that other readers may understand differently is refused. After a refusal
the connection ends, and no later byte is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import structlog
from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pool.api.http.leaving import Leaving, WayOut
from pool.api.http.messages import CONNECTION

log = structlog.get_logger()

# llhttp also knows the methods of WebDAV, which get 405, and of RTSP and ICE.
_OTHER_PROTOCOLS = frozenset(
    b"DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD "
    b"FLUSH SOURCE PRI".split()
)
HEADERS = 100
ADDRESS_BYTES = 8 * 1024
CHUNKS = 2048  # of one body; each takes a microsecond or two, and one read may have ten thousand

_AUTHORITY = rb"(?:\[[0-9A-Za-z:.%_~-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?"
_host = re.compile(_AUTHORITY)
_origin = re.compile(rb"/[^#]*")
_absolute = re.compile(rb"https?://(" + _AUTHORITY + rb")(/[^#]*)", re.IGNORECASE)
_FRAMING = frozenset((b"host", b"transfer-encoding"))
_BLANKS = b" \t"


class StrictProtocol(HttpToolsProtocol):
    """One connection whose requests can be read in one way only."""

    flaw: str = ""  # why a callback of the parser refused a request
    flaw_name: str = "malformed-request"  # and the name of the problem
    _chunks: int = 0
    chunks_of: object = None  # the headers of the request whose chunks were counted
    _past_head: bool = False
    way_out: WayOut | None = None  # made with the first request that takes the server's way

    def data_received(self, data: bytes) -> None:
        """Parse what was read from the socket; answer 400 if it cannot be parsed."""
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except HttpParserError as error:
            reason = str(error)
            if isinstance(error, HttpParserCallbackError):
                reason = self.flaw or "the request cannot be served"
                if not self.flaw:
                    log.exception("a request could not be read")
            self.send_400_response(reason)

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as offer:
                # The parser skips the body and takes the bytes after the head for a new
                # request. So a new parser is fed the head without the offer to upgrade.
                rest = memoryview(rest)[offer.args[0] :]
                head = self._head_without_offer()
                self.parser = _new_parser(self)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        parser = self.parser
        version = parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b\r\n" % (parser.get_method(), self.url, version)]
        lines += [b"%b: %b\r\n" % each for each in self.headers if each[0] != b"upgrade"]
        return b"".join([*lines, b"\r\n"])

    def _should_upgrade(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that belongs to the connection, without waiting for the collector."""
        super().connection_lost(exc)
        if self.way_out is not None:
            self.way_out.forget()

    def leave(self) -> None:
        """End the connection after the answer that was just written."""
        if not self.transport.is_closing():
            Leaving(self, self.way_out).leave()

    # -- the parser's side ---------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a new request; called before its first byte is parsed."""
        self._past_head = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header field; drop fields that come after the body."""
        if self._past_head:
            return
        name = name.lower()
        if name == b"expect" and value.strip(_BLANKS).lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > HEADERS:
            self.reject(f"over {HEADERS} headers", "headers-too-large")

    def on_chunk_header(self) -> None:
        """Count the chunks of a body: a client may send it byte by byte."""
        if self.chunks_of is not self.headers:
            self.chunks_of, self._chunks = self.headers, 0
        self._chunks += 1
        if self._chunks > CHUNKS:
            self.reject(f"a body in over {CHUNKS} chunks; send larger ones", "too-large")

    def offers_upgrade(self) -> bool:
        """Return True if this head offers an upgrade; it will be parsed again without the offer.

        Reject CONNECT.
        """
        if not self.parser.should_upgrade():
            return False
        if self.parser.get_method() == b"CONNECT":
            self.reject("CONNECT is for proxies, and this server is not one")
        return True

    def check_head(self) -> None:
        """Raise, so that the parser stops, unless this head can be read in one way only."""
        self._past_head = True
        version = self.parser.get_http_version()
        flaw = flaw_of_head(self.parser.get_method(), version, self.url, self.headers)
        if flaw is not None:
            self.reject(flaw)
        if not self.url.startswith(b"/"):
            self.url = _absolute.fullmatch(self.url)[2]  # type: ignore[index] # just checked
        if version == "1.0":
            self.expect_100_continue = False

    def reject(self, flaw: str, name: str = "malformed-request") -> None:
        """Keep the reason and raise, so that the parser stops; for use in its callbacks."""
        self.flaw, self.flaw_name = flaw, name
        raise ValueError(flaw)

    def on_headers_complete(self) -> None:
        """Begin to serve the request, once its head was read and is good."""
        if len(self.url) > ADDRESS_BYTES:
            self.reject(f"the address exceeds {ADDRESS_BYTES // 1024} KiB", "headers-too-large")
        if self.expect_100_continue:
            app, self.app = self.app, _closing_unless_body_is_asked_for(self.app)
            try:
                super().on_headers_complete()
            finally:
                self.app = app
        else:
            super().on_headers_complete()
        if self.way_out is None:
            self.way_out = WayOut(self.transport, self.leave)
        self.cycle.transport = self.way_out  # type: ignore[assignment]
        self.scope[CONNECTION] = self.way_out  # type: ignore[literal-required]

    def on_message_complete(self) -> None:
        """Finish a request that is whole; close the connection if it asked for that."""
        super().on_message_complete()
        cycle = self.cycle
        if cycle.keep_alive and not self.parser.should_keep_alive():
            # A field after the body said "close", and the parser reads no more.
            cycle.keep_alive = False
            if cycle.response_complete:
                self.leave()


def _new_parser(protocol: HttpToolsProtocol) -> HttpRequestParser:
    """Return a parser as the server makes it: data after a last request is no error."""
    parser = HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def flaw_of_head(
    method: bytes, version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> str | None:
    """Return what is wrong with a head that the parser accepted, or None if it is good."""
    hosts = codings = 0
    host = b""
    for name, value in headers:
        if name in _FRAMING:
            if name == b"host":
                hosts += 1
                host = value.strip(_BLANKS)
            else:
                codings += 1
                if value.strip(_BLANKS).lower() != b"chunked":
                    return "the only supported Transfer-Encoding is chunked"
    if version not in ("1.1", "1.0") or method in _OTHER_PROTOCOLS:
        return "only HTTP/1.1 and HTTP/1.0 are supported"
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return "a request must have exactly one Host header"
    if hosts and not _host.fullmatch(host):
        return "the Host header does not name a host"
    if codings and (codings > 1 or version == "1.0"):
        return "an HTTP/1.1 request may have one Transfer-Encoding header, an HTTP/1.0 request none"
    if not _origin.fullmatch(target):
        absolute = _absolute.fullmatch(target)
        if absolute is None:
            return "the address must be a path, or http:// with a host and a path"
        if hosts and absolute[1].lower() != host.lower():
            return "the address and the Host header name different hosts"
    return None


def _closing_unless_body_is_asked_for(app: ASGIApp) -> ASGIApp:
    """Return an application that closes the connection if it answers without reading the body.

    It serves a client that waits for "100 Continue". When such a client gets its answer
    instead, the server cannot know whether the body will still come.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        asked_for = False

        async def receiving() -> Message:
            nonlocal asked_for
            asked_for = True
            return await receive()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and not asked_for:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receiving, sending)

    return serve
