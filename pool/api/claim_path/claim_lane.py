"""Answer the claim route without the framework.

A visitor's page waits for `POST /v1/meetings/{sid}/claims`. A plain ASGI callable in front of
everything else answers it. The framework has the same function under the same path, for the
OpenAPI document and for applications mounted without the lane.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from urllib.parse import quote

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from pool.access.api_keys import Caller, KeyRing
from pool.access.api_keys import Scope as KeyScope
from pool.access.doors import Doors
from pool.access.limits import MinuteLimit, network_of
from pool.api.claim_path.answers import claim_answer, embedded_claim_answer
from pool.api.claim_path.claim_body import (
    ClaimRequest,
    embed_asked_for,
    parse_claim,
    parse_embedded_claim,
)
from pool.api.claim_path.known_heads import KnownHeads
from pool.api.claim_path.tally import Tally
from pool.api.http import problems
from pool.api.http.messages import (
    CLAIM_BODY_BYTES,
    NOSNIFF,
    Answer,
    Disconnected,
    Headers,
    api_key,
    read_body,
    request_id,
    wait_for_turn,
)
from pool.claims.desk import Desk
from pool.claims.known_meetings import KnownMeetings
from pool.claims.queue import Receipt, Waiter
from pool.config.settings import Settings, Workspace
from pool.embeds import EmbedType, Options
from pool.errors import LinkpoolError, Unauthorized, UnknownMeeting
from pool.model.links import is_sid
from pool.model.meetings import Meeting

log = structlog.get_logger()

_PREFIX = "/v1/meetings/"
_SUFFIX = "/claims"
_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"), NOSNIFF)
_NOT_READ = ClaimRequest("")


class Admitted:
    """A claim under way: its caller, its meeting and its body."""

    __slots__ = ("address", "caller", "counted", "limited", "request", "sid")

    def __init__(self, sid: str, caller: Caller, address: str, limited: bool) -> None:
        self.sid = sid
        self.caller = caller
        self.address = address
        self.limited = limited
        self.counted = False  # against the limits on new claims; given back if it is not new
        self.request: ClaimRequest = _NOT_READ

    def read(self, body: bytes) -> None:
        """Parse and keep the body. Raise MalformedJson, InvalidRequest or InvalidCustomerId."""
        self.request = parse_claim(body)

    def read_embedded(self, body: bytes, embed: EmbedType) -> Options:
        """Parse and keep a body that may hold options of the embed; return these.

        Raise what `read` raises.
        """
        self.request, options = parse_embedded_claim(body, embed)
        return options


class ClaimLane:
    """Serve claims, and pass every other request on to the framework.

    The steps of a claim are `admit`, `Admitted.read`, `join`, and `answer` or `refusal`; none
    of them waits. The short cut in `http_protocol.py` takes the same steps.
    """

    def __init__(
        self,
        app: ASGIApp,
        desk: Desk,
        known_meetings: KnownMeetings,
        keys: KeyRing,
        settings: Settings,
        tally: Tally,
        doors: Doors,
    ) -> None:
        self._app = app
        self._desk = desk
        self._known_meetings = known_meetings
        self._keys = keys
        self._settings = settings
        self._doors = doors
        self.observe = tally.claim_seconds
        self.heads = KnownHeads()
        self.has_limits = bool(
            settings.new_claims_per_minute_per_key or settings.new_claims_per_minute_per_address
        )
        self.per_key = MinuteLimit(settings.new_claims_per_minute_per_key)
        self.per_address = MinuteLimit(settings.new_claims_per_minute_per_address)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one ASGI call. Return the coroutine itself: each frame around it costs time."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            if path.startswith(_PREFIX) and path.endswith(_SUFFIX) and path.count("/") == 4:
                return self._serve(scope, receive, send, path[len(_PREFIX) : -len(_SUFFIX)])
        return self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, sid: str) -> None:
        try:
            status, headers, body = await self.claim(sid, scope, receive)
        except Disconnected:
            return
        headers = [
            *headers,
            (b"x-request-id", request_id(scope["headers"])),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def claim(self, sid: str, scope: Scope, receive: Receive) -> Answer:
        """Serve a claim. Return the status, headers and body of its answer.

        Raise Disconnected if the client goes away before its body is whole.
        """
        started = time.perf_counter()
        client = scope.get("client")
        admitted: Admitted | None = None
        try:
            admitted = self.admit(sid, scope["headers"], client[0] if client else "")
            if scope["query_string"] and (embed := embed_asked_for(scope["query_string"])):
                answer = await self._embedded(admitted, embed, scope, receive)
            else:
                admitted.read(await read_body(scope, receive, CLAIM_BODY_BYTES))
                if not self.knows(sid):
                    await self._known_meetings.find(sid)
                answered: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
                self.join(admitted, answered)
                answer = self.answer(admitted, await answered)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 - `refusal` has an answer for each
            if admitted is not None:
                self.give_back(admitted)
            if wait := self.wait_seconds(error):
                await wait_for_turn(scope, wait)
            answer = self.refusal(sid, error)
        self.observe(time.perf_counter() - started)
        return answer

    async def _embedded(
        self, admitted: Admitted, embed: EmbedType, scope: Scope, receive: Receive
    ) -> Answer:
        """Serve a claim that asks for embed code; nothing is claimed if its options are wrong."""
        options = admitted.read_embedded(await read_body(scope, receive, CLAIM_BODY_BYTES), embed)
        meeting = await self._known_meetings.find(admitted.sid)
        options.check_reference(self.workspace(meeting).ref_field)
        answered: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.join(admitted, answered)
        receipt = await answered
        if receipt.reused:
            self.give_back(admitted)
        body = embedded_claim_answer(
            receipt, admitted.request.customer_id, self.workspace(receipt.meeting), options
        )
        return (200 if receipt.reused else 201), _HEADERS, body

    # -- the steps -----------------------------------------------------------------

    def knows(self, sid: str) -> bool:
        """Return True if the meeting is in memory, so that `join` may be called at once."""
        return self._known_meetings.get(sid) is not None

    def knows_key(self, headers: Headers) -> bool:
        """Return True if the request carries a good key."""
        try:
            return bool(self._keys.authenticate(api_key(headers)))
        except LinkpoolError:
            return False

    def trusts(self, address: str) -> bool:
        """Return True if the address is a trusted proxy's."""
        return self._doors.proxies.trusts(address)

    def admit(self, sid: str, headers: Headers, address: str) -> Admitted:
        """Authenticate a claim; `address` is the peer of its connection.

        Return the admitted claim. Raise Unauthorized, Forbidden or UnknownMeeting.
        """
        try:
            caller = self._keys.authenticate(api_key(headers))
        except Unauthorized as error:
            stranger = self._doors.proxies.address(headers, address)
            self._doors.failed("api", stranger)
            error.wait_seconds = self._doors.turn(stranger)
            raise
        if caller.networks is not None:
            caller.check_address(self._doors.proxies.address(headers, address))
        caller.check(KeyScope.CLAIM, sid)
        if not self.knows(sid) and not is_sid(sid):
            raise UnknownMeeting("a SID has 1 to 64 letters, digits, hyphens and underscores")
        if not self.has_limits:
            return Admitted(sid, caller, address, limited=False)
        if self.per_address.on:
            address = network_of(self._doors.proxies.address(headers, address))
        limited = self.per_key.reached(caller.key_id) or self.per_address.reached(address)
        return Admitted(sid, caller, address, limited)

    def another(self, first: Admitted, headers: Headers) -> Admitted:  # noqa: ARG002 - for spans
        """Return one more claim of a request whose first claim was admitted."""
        address, key_id = first.address, first.caller.key_id
        limited = self.per_key.reached(key_id) or self.per_address.reached(address)
        return Admitted(first.sid, first.caller, address, limited)

    def pool_of(self, admitted: Admitted) -> str:
        """Return the pool that serves the customer of a claim that was read."""
        meeting = self._known_meetings.get(admitted.sid)
        if meeting is None or meeting.shards == 1:
            return admitted.sid
        return self._desk.pool_of(admitted.sid, admitted.request.customer_id)

    def join(self, admitted: Admitted, waiter: Waiter) -> None:
        """Put the customer in line; the waiter gets the receipt, or the error.

        A claim that may be new counts as new from here on: even if the client hangs up before its
        answer, a link is spent.
        """
        if self.has_limits and not admitted.limited:
            admitted.counted = True
            self.per_key.count(admitted.caller.key_id)
            self.per_address.count(admitted.address)
        request = admitted.request
        self._desk.join(
            waiter,
            admitted.sid,
            request.customer_id,
            request.email,
            request.metadata,
            limited=admitted.limited,
        )

    def answer(self, admitted: Admitted, receipt: Receipt) -> Answer:
        """Return the answer for a receipt. Raise UnknownMeeting if its workspace is gone."""
        if receipt.reused and admitted.counted:
            self.give_back(admitted)
        workspace = self._settings.workspace(receipt.meeting.workspace)
        if workspace is None:
            raise UnknownMeeting(f"the workspace of meeting {admitted.sid} is no longer configured")
        body = claim_answer(receipt, admitted.request.customer_id, workspace)
        return (200 if receipt.reused else 201), _HEADERS, body

    def workspace(self, meeting: Meeting) -> Workspace:
        """Return a meeting's workspace. Raise UnknownMeeting if it is no longer configured."""
        workspace = self._settings.workspace(meeting.workspace)
        if workspace is None:
            raise UnknownMeeting(f"the workspace of meeting {meeting.sid} is no longer configured")
        return workspace

    @staticmethod
    def wait_seconds(error: BaseException) -> float:
        """Return how long to wait before refusing.

        It is 0, except for unauthenticated callers that ask often.
        """
        return error.wait_seconds if isinstance(error, Unauthorized) else 0.0

    def give_back(self, admitted: Admitted) -> None:
        """Take back the count of a new claim, if one was counted."""
        if admitted.counted:
            admitted.counted = False
            self.per_key.give_back(admitted.caller.key_id)
            self.per_address.give_back(admitted.address)

    def refusal(self, sid: str, error: BaseException) -> Answer:
        """Return the answer for a claim that cannot be served."""
        instance = f"{_PREFIX}{quote(sid, safe='')}{_SUFFIX}"
        if isinstance(error, LinkpoolError):
            return problems.render_error(error, instance)
        if isinstance(error, TimeoutError):
            problem, detail = problems.BY_NAME["request-timeout"], "the body arrived too slowly"
        else:
            log.error("claim failed", meeting=sid, exc_info=error)
            problem, detail = problems.BY_NAME["internal-error"], "the claim failed"
        return problems.render(problem, detail, instance)
