"""The claim route, answered without the framework.

`POST /v1/meetings/{sid}/claims` is what a visitor's page waits for. It is a plain ASGI
callable in front of everything else; the framework knows the same function under the same
path, for the OpenAPI document and for whoever mounts the application without the lane.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from pool.api import problems
from pool.api.answers import claim_answer
from pool.api.http import (
    CLAIM_BODY_BYTES,
    Answer,
    Disconnected,
    Headers,
    api_key,
    read_body,
    request_id,
)
from pool.api.tally import Tally
from pool.desk import Desk
from pool.errors import InvalidRequest, LinkpoolError, MalformedJson, UnknownMeeting
from pool.keys import KeyRing
from pool.keys import Scope as KeyScope
from pool.limits import NewClaimLimit
from pool.links import check_customer_id, is_sid
from pool.registry import Registry
from pool.settings import Settings

log = structlog.get_logger()

METADATA_BYTES = 2 * 1024
EMAIL_CHARACTERS = 254  # RFC 5321's limit on a path

_PREFIX = "/v1/meetings/"
_SUFFIX = "/claims"
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_WHITE_SPACE = b" \t\r\n"  # as JSON has it


class ClaimRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a claim."""

    customer_id: str
    email: str | None = None
    metadata: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(ClaimRequest)


class ClaimLane:
    """Serves claims, and hands every other request on."""

    def __init__(
        self,
        app: ASGIApp,
        desk: Desk,
        registry: Registry,
        keys: KeyRing,
        settings: Settings,
        tally: Tally,
    ) -> None:
        self._app = app
        self._desk = desk
        self._registry = registry
        self._keys = keys
        self._settings = settings
        self._observe = tally.claim_seconds
        self._per_key = NewClaimLimit(settings.new_claims_per_minute_per_key)
        self._per_address = NewClaimLimit(settings.new_claims_per_minute_per_address)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI door. Hands on the coroutine itself: each frame around it costs time."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            if path.startswith(_PREFIX) and path.endswith(_SUFFIX) and path.count("/") == 4:
                return self._serve(scope, receive, send, path[len(_PREFIX) : -len(_SUFFIX)])
        return self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, sid: str) -> None:
        headers = scope["headers"]
        try:
            status, answer_headers, body = await self.answer(
                sid, headers, _address(scope), scope, receive
            )
        except Disconnected:
            return
        answer_headers.append((b"x-request-id", request_id(headers)))
        answer_headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(
        self, sid: str, headers: Headers, address: str, scope: Scope, receive: Receive
    ) -> Answer:
        """What a claim is answered: status, headers and body. Raises Disconnected."""
        started = time.perf_counter()
        try:
            answer = await self._claim(sid, headers, address, scope, receive)
        except LinkpoolError as error:
            answer = problems.render_error(error, _instance(sid))
        except TimeoutError:
            answer = problems.render(
                problems.BY_NAME["request-timeout"], "the body took too long", _instance(sid)
            )
        except Disconnected:
            raise
        except Exception:
            log.exception("claim failed", meeting=sid)
            answer = problems.render(
                problems.BY_NAME["internal-error"], "the claim failed", _instance(sid)
            )
        self._observe(time.perf_counter() - started)
        return answer

    async def _claim(
        self, sid: str, headers: Headers, address: str, scope: Scope, receive: Receive
    ) -> Answer:
        caller = self._keys.authenticate(api_key(headers))
        caller.check(KeyScope.CLAIM, sid)
        if not is_sid(sid):
            raise UnknownMeeting("a SID has 1 to 64 letters, digits, hyphens and underscores")
        request = parse_claim(await read_body(scope, receive, CLAIM_BODY_BYTES))
        limited = self._per_key.reached(caller.key_id) or self._per_address.reached(address)
        if self._registry.get(sid) is None:
            await self._registry.find(sid)
        receipt = await self._desk.ask(
            sid, request.customer_id, request.email, request.metadata, limited=limited
        )
        if not receipt.reused:
            self._per_key.count(caller.key_id)
            self._per_address.count(address)
        workspace = self._settings.workspace(receipt.meeting.workspace)
        if workspace is None:
            raise UnknownMeeting(f"the workspace of meeting {sid} is not configured any more")
        body = claim_answer(receipt, request.customer_id, workspace)
        return (200 if receipt.reused else 201), [_JSON, _NO_STORE], body


def parse_claim(body: bytes) -> ClaimRequest:
    """The claim a body asks for. Raises MalformedJson, InvalidRequest, InvalidCustomerId."""
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        if not body.lstrip(_WHITE_SPACE).startswith(b"{"):
            raise MalformedJson("the body is JSON, but not an object") from None
        raise InvalidRequest("the claim is not as it should be", [str(error)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson(f"the body is not JSON: {error}") from None
    check_customer_id(request.customer_id)
    if request.email is not None:
        check_email(request.email)
    if request.metadata is not None:
        check_metadata(request.metadata)
    return request


def check_email(email: str) -> None:
    """Raises InvalidRequest unless the text could be an e-mail address."""
    name, at, domain = email.rpartition("@")
    plain = email.isprintable() and " " not in email
    if not (name and at and domain and plain and len(email) <= EMAIL_CHARACTERS):
        raise InvalidRequest("email is no e-mail address", ["email: not an address - `$.email`"])


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raises InvalidRequest if it is over 2 KiB as JSON or holds NUL, which no database keeps."""
    encoded = msgspec.json.encode(metadata)
    if len(encoded) > METADATA_BYTES:
        raise InvalidRequest(
            "metadata is too large",
            [f"metadata: {len(encoded)} bytes as JSON, at most {METADATA_BYTES} - `$.metadata`"],
        )
    if b"\\u0000" in encoded:
        raise InvalidRequest("metadata holds NUL", ["metadata: holds NUL - `$.metadata`"])


def _instance(sid: str) -> str:
    return f"{_PREFIX}{quote(sid, safe='')}{_SUFFIX}"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""
