"""Send this linkpool a signed event, by the way that the provider's webhooks take.

The receiving side recognises it after verifying the signature, answers, and neither keeps nor
changes anything. The address is that of the settings, never one that somebody typed; redirects are
not followed, and an answer is read up to a few KiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import socket
import ssl
import time
from collections.abc import Iterator

import httpx
import msgspec

from pool.config.settings import Workspace
from pool.providers.signatures import SIGNATURE_HEADER, sign

SECONDS = 10.0
_ANSWER_MOST_BYTES = 4_096
_EVENT = re.compile(rb'\{"event":"linkpool_test","nonce":"[0-9a-f]{32}"\}')


class SelfTest(msgspec.Struct, frozen=True):
    """The result of a test event."""

    passed: bool
    words: str  # one sentence without a full stop


def self_test_id(body: bytes) -> str | None:
    """Return the event id that answers a test event, None for any other event."""
    if not _EVENT.fullmatch(body):
        return None
    return f"test-{hashlib.sha256(body).hexdigest()[:32]}"


async def send_self_test(
    workspace: Workspace, address: str, *, transport: httpx.AsyncBaseTransport | None = None
) -> SelfTest:
    """Send a test event of this workspace to its webhook's address, and say what happened.

    It takes SECONDS at most. `transport` replaces the network in tests.
    """
    if workspace.webhook_secret is None:
        return SelfTest(False, "not sent: no webhook secret is set, so every webhook is refused")
    body = b'{"event":"linkpool_test","nonce":"%s"}' % secrets.token_hex(16).encode()
    headers = {
        "accept-encoding": "identity",
        "content-type": "application/json",
        SIGNATURE_HEADER: sign(workspace.webhook_secret.get_secret_value(), body),
    }
    began = time.monotonic()
    try:
        async with asyncio.timeout(SECONDS):
            status, said = await _post(address, body, headers, transport)
    except TimeoutError:
        return SelfTest(False, f"no answer within {SECONDS:.0f} seconds")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return SelfTest(False, _trouble(error))
    return _judged(status, said, self_test_id(body), (time.monotonic() - began) * 1000)


async def _post(
    address: str, body: bytes, headers: dict[str, str], transport: httpx.AsyncBaseTransport | None
) -> tuple[int, bytes]:
    async with (
        httpx.AsyncClient(
            timeout=SECONDS, transport=transport, trust_env=False, follow_redirects=False
        ) as client,
        client.stream("POST", address, content=body, headers=headers) as answer,
    ):
        said = b""
        async for piece in answer.aiter_bytes():
            said += piece
            if len(said) > _ANSWER_MOST_BYTES:
                break
        return answer.status_code, said[:_ANSWER_MOST_BYTES]


def _judged(status: int, said: bytes, expected: str | None, took_ms: float) -> SelfTest:
    if status == 202 and _field(said, "event_id") == expected:
        return SelfTest(True, f"accepted in {took_ms:.0f} ms")
    problem = (_field(said, "type") or "").rpartition("/")[2]
    if status == 401 and problem == "bad-signature":
        return SelfTest(
            False, "the signature was refused: the linkpool there has another webhook secret"
        )
    if status == 404 and problem == "unknown-workspace":
        return SelfTest(False, "the linkpool there has no workspace of this name")
    if 300 <= status < 400:
        return SelfTest(
            False,
            f"answered {status}, a redirect, which the provider takes for a failure: is there a "
            "sign-in in front of /v1/webhooks/, or is it http:// where it should be https://?",
        )
    if problem:
        return SelfTest(False, f"linkpool answered {status}, {problem}")
    return SelfTest(
        False, f"answered {status}, but not by a linkpool: what else answers at this address?"
    )


def _field(said: bytes, name: str) -> str | None:
    try:
        value = msgspec.json.decode(said, type=dict[str, msgspec.Raw]).get(name)
        return None if value is None else msgspec.json.decode(value, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _trouble(error: Exception) -> str:
    """Return why no answer came, in words."""
    causes = list(_causes(error))
    certificate = [each for each in causes if isinstance(each, ssl.SSLCertVerificationError)]
    if certificate:
        return f"the TLS certificate was refused: {certificate[0].verify_message}"
    if any(isinstance(each, ssl.SSLError) for each in causes):
        return "TLS failed: is there a server that speaks TLS at this address?"
    if any(isinstance(each, socket.gaierror) for each in causes):
        return "the address is unreachable: its host name is not known"
    if isinstance(error, httpx.TimeoutException):
        return "the address is unreachable: nothing answered in time"
    if isinstance(error, httpx.ConnectError):
        return "the address is unreachable: the connection was refused"
    return f"the connection broke before an answer ({type(error).__name__})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
