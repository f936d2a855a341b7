"""Test that the NeetoCal provider makes links, and the error for each bad answer of its API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pool.errors import (
    BadAnswer,
    MeetingRefused,
    ProviderError,
    ProviderFailed,
    Throttled,
    WorkspaceRefused,
)
from pool.providers import NewLink
from pool.providers.refusals import error_of, retry_after_seconds
from tests.unit.neetocal_stage import (
    KEY,
    NOW,
    SECRET,
    SLUG,
    URL,
    answering,
    link,
    provider,
    refusal,
    workspace,
)

# -- creating ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("body", [link(), {"one_off_link": link()}])
async def test_both_documented_answers_make_a_link(status: int, body: dict[str, Any]) -> None:
    """A flat and a nested answer, with 200 or 201, are the same link."""
    assert await provider(answering(status, body)).create_link("abc") == NewLink(SLUG, URL)


async def test_the_request_is_the_documented_one() -> None:
    """A POST without a body to the meeting's one-off links, with the key in X-API-KEY."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=link())

    await provider(handler).create_link("a_B-9")
    [request] = seen
    assert request.method == "POST"
    expected = "https://acme.neetocal.com/api/external/v2/meetings/a_B-9/one-off-links"
    assert str(request.url) == expected
    assert request.headers["x-api-key"] == KEY
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("linkpool/")
    assert request.content == b""


@pytest.mark.parametrize("sid", ["", "a/b", "..", "{}", "a" * 65, "a b", "a\n", "ä"])
async def test_a_sid_of_another_form_never_gets_into_a_path(sid: str) -> None:
    """A SID of another form is refused without a request."""

    def handler(_: httpx.Request) -> httpx.Response:
        raise AssertionError("a request was made")

    with pytest.raises(MeetingRefused):
        await provider(handler).create_link(sid)


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (f"{URL}/", {}),
        (f"https://ACME.neetocal.com:443/{SLUG}", {}),
        (f"http://localhost:9/x/{SLUG}", {"base_url": "http://localhost:9/x"}),
        (f"https://book.acme.test/{SLUG}", {"link_base_url": "https://book.acme.test"}),
    ],
)
async def test_urls_that_mean_the_same_place_are_accepted(url: str, fields: dict[str, Any]) -> None:
    """A slash at the end, a default port and a host in capitals change nothing."""
    made = await provider(answering(200, link(url=url)), **fields).create_link("abc")
    assert made == NewLink(SLUG, f"{workspace(**fields).link_url}/{SLUG}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Hello</title>",
        b"null",
        b"[]",
        b'"' + SLUG.encode() + b'"',
        b"{}",
        b'{"slug": NaN, "url": NaN}',
        b'{"slug": "\xff", "url": "x"}',
        b'{"slug": "\\ud800", "url": "x"}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b" " * (64 * 1024 + 1),
        b'{"one_off_link": null}',
        {"one_off_link": {"slug": SLUG}},
        link(slug=None),
        link(slug=7),
        link(url=None),
        link(slug="", url="https://acme.neetocal.com/"),
        link(slug="ab", url="https://acme.neetocal.com/ab"),
        link(slug="../x", url="https://acme.neetocal.com/../x"),
        link(slug="one off", url="https://acme.neetocal.com/one off"),
        link(slug="a" * 129, url="https://acme.neetocal.com/" + "a" * 129),
        link(slug=SLUG + "\n", url=URL + "\n"),
        link(slug="slüg", url="https://acme.neetocal.com/slüg"),
        link(url=""),
        link(url=SLUG),
        link(url=f"{URL}x"),
        link(url=f"{URL}?x=1"),
        link(url=f"{URL}#x"),
        link(url=f"{URL}//"),
        link(url=f"javascript:alert(1)//{SLUG}"),
        link(url=f"http://acme.neetocal.com/{SLUG}"),
        link(url=f"https://acme.neetocal.com:8443/{SLUG}"),
        link(url=f"https://acme.neetocal.com@evil.test/{SLUG}"),
        link(url=f"https://evil@acme.neetocal.com/{SLUG}"),
        link(url=f"https://acme.neetocal.com:port/{SLUG}"),
        link(url=f"https://[acme/{SLUG}"),
        link(url=f"https://acme.neetocal.com/{SLUG}/{SLUG}"),
        link(url=f"https://acme.neetocal.com?/{SLUG}"),
        link(url=f"https://acme.neetocal.com#/{SLUG}"),
        link(url=f"https://acme.neeto\tcal.com/{SLUG}"),
        link(url=f" https://acme.neetocal.com/{SLUG}"),
    ],
)
async def test_an_answer_that_is_no_link_never_becomes_one(body: Any) -> None:
    """Any other answer with 200 is a bad answer, and a link that may have been made."""
    error = await refusal(answering(200, body))
    assert isinstance(error, BadAnswer)
    assert error.maybe_made
    assert error.status == 200


async def test_another_base_address_is_named_with_its_cure() -> None:
    """If only the start of the links differs, the message is the setting to copy."""
    body = link(url=f"https://book.acme.test/x/{SLUG}")
    error = await refusal(answering(200, body))
    assert str(error).endswith("set LINKPOOL_NEETOCAL_LINK_BASE_URL=https://book.acme.test/x")
    error = await refusal(answering(200, body), name="sales")
    assert "workspaces.sales.link_base_url in linkpool.toml" in str(error)


# -- refusals ------------------------------------------------------------------------

STATUSES = [
    (202, BadAnswer, True),
    (204, BadAnswer, True),
    (301, BadAnswer, False),
    (302, BadAnswer, False),
    (304, BadAnswer, False),
    (400, MeetingRefused, False),
    (401, WorkspaceRefused, False),
    (402, BadAnswer, False),
    (403, MeetingRefused, False),
    (404, MeetingRefused, False),
    (405, BadAnswer, False),
    (408, ProviderFailed, False),
    (409, BadAnswer, False),
    (422, MeetingRefused, False),
    (429, Throttled, False),
    (500, ProviderFailed, True),
    (502, ProviderFailed, True),
    (503, ProviderFailed, True),
    (599, ProviderFailed, True),
]


@pytest.mark.parametrize(("status", "kind", "maybe_made"), STATUSES)
async def test_each_status_has_its_error(
    status: int, kind: type[ProviderError], maybe_made: bool
) -> None:
    """The table of statuses when a link is made."""
    error = await refusal(answering(status, {"error": "No"}, location="https://evil.test/"))
    assert type(error) is kind
    assert (error.status, error.maybe_made) == (status, maybe_made)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_refused_meetings_share_their_reason(status: int) -> None:
    """The page says a reason once for all pools that have it; on a phone, its first words."""
    body = json.dumps({"error": "This meeting is disabled"}).encode()
    one, other = (
        str(error_of(workspace(), status, body, None, meeting_sid=sid))
        for sid in ("intro-call", "product-demo")
    )
    assert one == other
    assert str(status) in one[:60]


LISTED: dict[int, type[ProviderError]] = {
    400: BadAnswer,
    401: WorkspaceRefused,
    403: WorkspaceRefused,
    404: BadAnswer,
    422: BadAnswer,
    429: Throttled,
    201: BadAnswer,
    302: BadAnswer,
    500: ProviderFailed,
}


@pytest.mark.parametrize("status", LISTED)
async def test_a_list_that_fails_never_made_a_link(status: int) -> None:
    """The same table for lists, where no meeting can be at fault."""
    with pytest.raises(LISTED[status]) as caught:
        await provider(answering(status)).meetings()
    assert type(caught.value) is LISTED[status]
    assert not caught.value.maybe_made


async def test_no_redirect_is_followed() -> None:
    """The key goes to the one address that was configured."""
    hosts: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://evil.test/"})

    error = await refusal(handler)
    assert hosts == ["acme.neetocal.com"]
    assert "set LINKPOOL_NEETOCAL_BASE_URL" in str(error)


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        ({"error": "Could not authenticate"}, '"Could not authenticate"'),
        ({"errors": ["One", "Two", 3]}, '"One; Two"'),
        ({"errors": {"base": ["One"], "name": "Two", "x": 3}}, '"One; Two"'),
        ({"notice": "Slow"}, '"Slow"'),
        ({"error": "a\r\nb\x1b[31mc\x00"}, '"a b [31mc"'),
        ({"error": f"key {KEY} is bad"}, '"key *** is bad"'),
        ({"error": f"secret {SECRET}"}, '"secret ***"'),
        (
            {"error": f"{SLUG} at {URL}?x and https://acme.neetocal.com/else"},
            '"*** at *** and ***"',
        ),
        ({"error": "x" * 300}, '"' + "x" * 200 + '"'),
        ({"error": "x" * 190 + KEY}, '"' + "x" * 190 + '***"'),
        ({"error": {"deep": {"deeper": "x"}}}, "(401);"),
        ({"other": "x"}, "(401);"),
        (b"<html>no</html>", "(401);"),
        (b"x" * 70_000, "(401);"),
    ],
)
async def test_the_provider_is_quoted_with_care(body: Any, quoted: str) -> None:
    """Its own words, one line, at most 200 characters, no key, no secret, no slug."""
    error = await refusal(answering(401, body), webhook_secret=SecretStr(SECRET))
    assert quoted in str(error)
    assert "LINKPOOL_NEETOCAL_API_KEY" in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        ("0", 0.0),
        ("2.5", 2.5),
        ("-1", 0.0),
        ("1000000000", 1e9),
        ("1e9", 1e9),
        ("1e999", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("٣", None),
        ("", None),
        ("soon", None),
        ("5, 5", None),
        (".", None),
        ("9" * 100, None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Sun, 22 Nov 2026 06:00:30 -0000", 30.0),
        ("Sun, 99 Nov 2026 06:00:30 GMT", None),
        ("Sun, 22 Nov 99999 06:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(value: str | None, seconds: float | None) -> None:
    """Numbers and dates count, at least 0; garbage counts as nothing."""
    assert retry_after_seconds(value, NOW) == seconds


@given(st.text(max_size=70))
def test_retry_after_never_fails(value: str) -> None:
    """No header value raises, and none is negative or endless."""
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


async def test_a_throttled_call_says_how_long() -> None:
    """Retry-After reaches the error."""
    error = await refusal(answering(429, b"", retry_after="7"))
    assert isinstance(error, Throttled)
    assert error.retry_after_seconds == 7.0


# -- the network ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "maybe_made", "word"),
    [
        (httpx.ConnectTimeout("x"), False, "timeout"),
        (httpx.PoolTimeout("x"), False, "timeout"),
        (httpx.ConnectError("x"), False, "unreachable"),
        (httpx.UnsupportedProtocol("x"), False, "unreachable"),
        (httpx.LocalProtocolError("x"), False, "unreachable"),
        (httpx.InvalidURL("x"), False, "unreachable"),
        (UnicodeError("label too long"), False, "unreachable"),
        (httpx.ReadTimeout("x"), True, "timeout"),
        (httpx.WriteTimeout("x"), True, "timeout"),
        (httpx.ReadError("x"), True, "broken"),
        (httpx.WriteError("x"), True, "broken"),
        (httpx.RemoteProtocolError("x"), True, "broken"),
        (OSError("x"), True, "broken"),
    ],
)
async def test_each_fault_of_the_network_has_its_error(
    raised: Exception, maybe_made: bool, word: str
) -> None:
    """A link may have been made exactly if the request may have been sent."""
    seen: list[tuple[str, int | str, float]] = []

    def handler(_: httpx.Request) -> httpx.Response:
        raise raised

    error = await refusal(handler, observe=lambda *call: seen.append(call))
    assert type(error) is ProviderFailed
    assert (error.status, error.maybe_made) == (None, maybe_made)
    assert [call[:2] for call in seen] == [("create_link", word)]


class Trickle(httpx.AsyncByteStream):
    """A body of one byte each 10 ms, without end."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    async def aclose(self) -> None:
        self.closed = True


async def test_a_trickling_answer_ends_at_the_deadline() -> None:
    """Bytes that keep coming do not extend the time-out, and the connection is given up."""
    body = Trickle()
    started = time.monotonic()
    error = await refusal(lambda _: httpx.Response(200, stream=body), timeout_seconds=0.1)
    assert time.monotonic() - started < 20
    assert type(error) is ProviderFailed
    assert error.maybe_made
    assert body.closed


async def test_a_refusal_whose_body_never_ends_is_still_that_refusal() -> None:
    """A 429 is a 429, also when the words that explain it do not arrive."""
    seen: list[Any] = []
    error = await refusal(
        lambda _: httpx.Response(429, stream=Trickle(), headers={"retry-after": "9"}),
        timeout_seconds=0.1,
        observe=lambda *call: seen.append(call[:2]),
    )
    assert isinstance(error, Throttled)
    assert error.retry_after_seconds == 9.0
    assert seen == [("create_link", 429)]


class Flood(httpx.AsyncByteStream):
    """Ten megabytes, which count the bytes that were read."""

    taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(160):
            self.taken += 65_536
            yield b" " * 65_536


@pytest.mark.parametrize("headers", [{}, {"content-length": "10485760"}])
async def test_a_huge_answer_is_not_read_to_its_end(headers: dict[str, str]) -> None:
    """At most 64 KiB and one chunk are read of the answer to a create."""
    body = Flood()
    error = await refusal(lambda _: httpx.Response(200, stream=body, headers=headers))
    assert isinstance(error, BadAnswer)
    assert error.maybe_made
    assert body.taken <= 2 * 65_536


async def test_a_compressed_answer_is_refused_unread() -> None:
    """linkpool requests no compression, and a small answer could unpack to any size."""
    body = Flood()
    headers = {"content-encoding": "gzip"}
    error = await refusal(lambda _: httpx.Response(200, stream=body, headers=headers))
    assert isinstance(error, BadAnswer)
    assert body.taken == 0


async def test_a_cancelled_call_is_cancelled() -> None:
    """Cancelling passes through, is not an error of the provider, and is observed."""
    seen: list[Any] = []

    async def handler(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    neetocal = provider(handler, observe=lambda *call: seen.append(call[:2]))
    task = asyncio.create_task(neetocal.create_link("abc"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [("create_link", "cancelled")]


async def test_every_request_is_observed_once() -> None:
    """Operation, status and seconds of each request reach the hook."""
    seen: list[tuple[str, int | str, float]] = []
    neetocal = provider(answering(200, link()), observe=lambda *call: seen.append(call))
    await neetocal.create_link("abc")
    await neetocal.close()
    await neetocal.close()
    [(operation, status, seconds)] = seen
    assert (operation, status) == ("create_link", 200)
    assert 0 <= seconds < 60


async def test_cookies_are_not_kept() -> None:
    """A session cookie of one answer is not sent with the next request."""
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, json=link(), headers={"set-cookie": "s=1; Path=/"})

    neetocal = provider(handler)
    await neetocal.create_link("abc")
    await neetocal.create_link("abc")
    assert seen == [None, None]
