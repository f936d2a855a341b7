"""Test that a test delivery reports its outcome in words, and changes nothing where it arrives."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr

from pool.bookings.bookings import Bookings
from pool.config.own_address import listening_address, webhook_address
from pool.config.settings import Settings, Workspace
from pool.errors import BadSignature, SettingsError
from pool.providers import open_provider
from pool.providers.self_test import self_test_id, send_self_test

SECRET = "the secret that NeetoCal and linkpool share"
ADDRESS = "https://links.example.com/v1/webhooks/default"


def workspace(secret: str | None = SECRET) -> Workspace:
    return Workspace(
        name="default",
        subdomain="acme",
        api_key=SecretStr("key-of-acme"),
        webhook_secret=SecretStr(secret) if secret else None,
    )


@dataclass
class Receiving:
    """The receiving side, without anything to keep events in: touching it fails."""

    secret: str = SECRET
    counted: list[tuple[str, ...]] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        provider = open_provider(workspace(self.secret), timeout_seconds=1)
        nothing = cast(Any, object())
        bookings = Bookings.__new__(Bookings)
        bookings.__init__(  # type: ignore[misc]
            _Nothing(), _Nothing(), nothing, {"default": provider},
            counted=lambda *each: self.counted.append(each),
        )  # fmt: skip
        given = request.headers.get_list("x-neeto-webhook-signature")
        try:
            event_id = await bookings.receive("default", request.content, given)
        except BadSignature:
            return httpx.Response(401, json={"type": "/problems/bad-signature"})
        finally:
            await provider.close()
        return httpx.Response(202, json={"event_id": event_id})


class _Nothing:
    """Has parts that may be named, and must not be used."""

    def __getattr__(self, name: str) -> Any:
        return _Nothing()

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a test delivery touched what is kept")


async def test_a_test_delivery_is_accepted_and_nothing_is_kept() -> None:
    """It is signed like any webhook, and answered like one."""
    there = Receiving()
    result = await send_self_test(workspace(), ADDRESS, transport=httpx.MockTransport(there))
    assert (result.passed, result.words.startswith("accepted in ")) == (True, True), result.words
    assert there.counted == [("default", "other", "test")]
    assert [str(each.url) for each in there.asked] == [ADDRESS]


def _raising(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


def _because(error: httpx.ConnectError, cause: Exception) -> httpx.ConnectError:
    error.__cause__ = cause
    return error


def _unverified() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Receiving("another secret than it was signed with"), "the signature was refused"),
        (lambda _: httpx.Response(202, json={"event_id": "other"}), "not by a linkpool"),
        (lambda _: httpx.Response(202, content=b"[" * 9_000), "not by a linkpool"),
        (lambda _: httpx.Response(200, text="<html>"), "answered 200, but not by a linkpool"),
        (lambda _: httpx.Response(302, headers={"location": "/sign-in"}), "answered 302, a redir"),
        (
            lambda _: httpx.Response(404, json={"type": "/p/problems/unknown-workspace"}),
            "no workspace of this name",
        ),
        (
            lambda _: httpx.Response(503, json={"type": "/problems/ledger-unavailable"}),
            "linkpool answered 503, ledger-unavailable",
        ),
        (_raising(httpx.ConnectError("refused")), "the connection was refused"),
        (_raising(_because(httpx.ConnectError("x"), OSError(1))), "the connection was refused"),
        (_raising(httpx.ConnectTimeout("late")), "nothing answered in time"),
        (_raising(TimeoutError()), "no answer within 10 seconds"),
        (_raising(httpx.RemoteProtocolError("gone")), "broke before an answer"),
        (
            _raising(_because(httpx.ConnectError("x"), _unverified())),
            "the TLS certificate was refused: self-signed certificate",
        ),
        (_raising(_because(httpx.ConnectError("x"), ssl.SSLError(1, "wrong version"))), "TLS fail"),
    ],
)
async def test_a_failure_is_said_in_words(answer: Any, says: str) -> None:
    """No redirect is followed, so that only the configured address is called."""
    result = await send_self_test(workspace(), ADDRESS, transport=httpx.MockTransport(answer))
    assert not result.passed
    assert says in result.words


async def test_nothing_is_sent_unsigned() -> None:
    """Without a secret no webhook would be accepted anyway."""
    there = Receiving()
    result = await send_self_test(workspace(None), ADDRESS, transport=httpx.MockTransport(there))
    assert "no webhook secret is set" in result.words
    assert there.asked == []


@pytest.mark.parametrize(
    "said",
    [
        {"event": "linkpool_test"},
        {"event": "linkpool_test", "nonce": "x"},
        {"event": "linkpool_test", "nonce": "0" * 32, "booking": {"sid": "bk-1"}},
        {"event": "booking_created", "nonce": "0" * 32},
    ],
)
def test_an_event_that_says_anything_else_is_no_test(said: dict[str, Any]) -> None:
    """A booking is never taken for one."""
    assert self_test_id(json.dumps(said, separators=(",", ":")).encode()) is None


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"public_url": "https://links.example.com/"}, "https://links.example.com/v1/webhooks/w"),
        (
            {"public_url": "https://x.example.com/lp", "root_path": "/lp"},
            "https://x.example.com/lp/v1/webhooks/w",
        ),
        ({}, "http://127.0.0.1:8000/v1/webhooks/w"),
        ({"host": "0.0.0.0", "port": 81}, "http://127.0.0.1:81/v1/webhooks/w"),
        ({"host": "::", "root_path": "/lp"}, "http://[::1]:8000/lp/v1/webhooks/w"),
    ],
)
def test_only_our_own_address_is_asked(settings: dict[str, Any], address: str) -> None:
    assert webhook_address(Settings(**settings), "w") == address


def test_a_listening_address_is_a_url_in_ipv6_too() -> None:
    assert listening_address(Settings(host="::", port=8001)) == "http://[::]:8001"


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": "links.example.com"},
        {"public_url": "ftp://links.example.com"},
        {"public_url": "https://user@links.example.com"},
        {"public_url": "https://links.example.com?x=1"},
        {"public_url": "https://links.example.com:0"},
        {"public_url": "https://links.example.com", "root_path": "/lp"},
        {"public_url": "https://links.example.com/lp"},
    ],
)
def test_a_public_url_that_leads_elsewhere_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((SettingsError, ValueError), match=r"PUBLIC_URL|must be|has no host"):
        Settings(**settings)
