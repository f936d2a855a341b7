"""Run the server's own protocol and claim lane on a transport that delivers bytes as asked."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
from pydantic import SecretStr
from uvicorn.server import ServerState

from pool.access.api_keys import KeyRing
from pool.access.doors import Doors
from pool.api.claim_path.claim_lane import ClaimLane
from pool.api.http.messages import CLAIM_BODY_BYTES, Disconnected, read_body, request_id
from pool.api.server.draining import DrainingProtocol
from pool.claims.queue import Receipt, Waiter
from pool.config.networks import TrustedProxies
from pool.config.settings import Settings, Workspace
from pool.errors import TooLarge, UnknownMeeting
from pool.model.links import Claim
from pool.model.meetings import Meeting
from tests.security.table import KEY, SID

ACME = Workspace(
    name="default",
    subdomain="acme",
    api_key=SecretStr("key"),
    webhook_secret=SecretStr("secret"),
    ref_field=None,
)
MEETING = Meeting(SID.decode())
TURNS = 12  # of the loop, after which nothing that can be done is left undone


class _Desk:
    """Tells everybody in the loop's next turn, and remembers who asked."""

    def __init__(self) -> None:
        self.customers: list[str] = []

    def join(self, waiter: Waiter, _sid: str, customer_id: str, *_: Any, **__: Any) -> None:
        self.customers.append(customer_id)
        claim = Claim("one-off-1", "claimed", "pool", 0, None, None)
        receipt = Receipt(MEETING, claim, "reused")
        asyncio.get_running_loop().call_soon(waiter.set_result, receipt)


async def _no_meeting(_sid: str) -> Meeting:
    raise UnknownMeeting("there is no meeting of this SID")


async def _routes(scope: Any, receive: Any, send: Any) -> None:
    """Answer as the framework would in the table, at a fraction of its cost."""
    status = 404
    if scope["path"] == "/livez":
        status = 200 if scope["method"] in ("GET", "HEAD") else 405
    elif scope["path"].endswith("/claims"):
        status = 405
    try:
        await read_body(scope, receive, CLAIM_BODY_BYTES)
    except TooLarge:
        status = 413
    except Disconnected:
        return
    headers = [(b"content-length", b"2"), (b"x-request-id", request_id(scope["headers"]))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


class Application:
    """The claim lane, with a desk that knows one customer and a few routes behind it."""

    def __init__(self) -> None:
        keys = KeyRing(cast(Any, SimpleNamespace()), KEY.decode())
        keys._loaded = True
        known_meetings = SimpleNamespace(
            get=lambda sid: MEETING if sid == MEETING.sid else None, find=_no_meeting
        )
        self.desk = _Desk()
        self.lane = ClaimLane(
            _routes,
            cast(Any, self.desk),
            cast(Any, known_meetings),
            keys,
            Settings(workspaces={"default": ACME}),
            cast(Any, SimpleNamespace(claim_seconds=lambda _: None)),
            Doors(TrustedProxies("127.0.0.1"), lambda _: None),
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer an ASGI request."""
        await self.lane(scope, receive, send)


class Transport:
    """A transport that keeps what is written to it, and what waits to be read from it."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.said = bytearray()
        self.ended = False
        self._closing = False
        self._paused = False
        self._waiting: deque[bytes] = deque()
        protocol.connection_made(self)

    def arrive(self, data: bytes) -> None:
        """Deliver bytes of the client, which are read at once unless reading is paused."""
        self._waiting.append(data)
        self._deliver()

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self._closing:
            self.protocol.data_received(self._waiting.popleft())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        assert not self.ended or not data, "written behind the end"
        self.said += data

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self._closing:
            self._closing = self.ended = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        asyncio.get_running_loop().call_soon(self._deliver)


class Server:
    """Makes connections to one application."""

    def __init__(self) -> None:
        self.application = Application()
        self._config = uvicorn.Config(
            cast(Any, self.application), http=DrainingProtocol, ws="none", lifespan="off",
            timeout_keep_alive=3600, log_config=None, access_log=False, interface="asgi3",
            server_header=False, date_header=False, proxy_headers=False,
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._hanging: set[Any] = set()  # they wait for bytes

    def connect(self) -> Transport:
        """Open a new connection."""
        self._hanging &= self._state.tasks
        loop = asyncio.get_running_loop()
        return Transport(DrainingProtocol(self._config, self._state, {}, loop))

    async def settle(self) -> None:
        """Let the server do all it can with what has arrived."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        while any(not each.done() for each in self._state.tasks if each not in self._hanging):
            before = len(self._state.tasks)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if len(self._state.tasks) == before:
                self._hanging = set(self._state.tasks)
