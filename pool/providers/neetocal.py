"""Call NeetoCal over HTTP: https://apidocs.neetocal.com, version 2.

There is one client per workspace, kept alive between calls. Redirects are not followed, proxies
and .netrc of the environment are not used, cookies are not kept, no request is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from pool.config.settings import Workspace
from pool.errors import BadAnswer, BadSignature, MeetingRefused, ProviderFailed
from pool.model.links import is_sid
from pool.providers import answers, clients, redaction, refusals, webhooks
from pool.providers.base import BookingEvent, BookingPage, NewLink, Observe, ProviderMeeting
from pool.providers.signatures import verify

CONNECT_TIMEOUT_SECONDS = 3.0
# The most bytes of an answer that are read; a link is about 120, a booking a few thousand.
LINK_MAX_BYTES = 64 * 1024
MEETINGS_MAX_BYTES = 1024 * 1024
BOOKINGS_MAX_BYTES = 8 * 1024 * 1024
PAGE_SIZE = 100  # the most NeetoCal gives
PAGES_MAX = 500

# The most connections PROVIDER_CONCURRENCY can ask for. Idle ones live longer than the
# pause between two sweeps, and shorter than common servers keep them.
_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=32, keepalive_expiry=15.0)
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,  # a host name that DNS cannot carry
)


class NeetoCal:
    """One workspace at NeetoCal; a `pool.providers.Provider`."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        timeout_seconds: float,
        observe: Observe | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._workspace = workspace
        self._timeout_seconds = timeout_seconds
        self._observe = observe
        self._clock_offset_seconds: float | None = None
        # Well below the deadline, so that a dead network can be distinguished from a lost answer.
        connect = min(CONNECT_TIMEOUT_SECONDS, timeout_seconds / 2)
        self._client = httpx.AsyncClient(
            headers={
                "X-API-KEY": workspace.api_key.get_secret_value(),
                "Accept": "application/json",
                # A small compressed answer could grow to any size.
                "Accept-Encoding": "identity",
                "User-Agent": clients.user_agent(),
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(timeout_seconds, connect=connect, pool=connect),
            limits=_LIMITS,
            follow_redirects=False,
            trust_env=False,
            verify=clients.tls(),
            transport=transport,
        )

    @property
    def can_verify(self) -> bool:
        return self._secret() is not None

    @property
    def clock_offset_seconds(self) -> float | None:
        return self._clock_offset_seconds

    async def create_link(self, meeting_sid: str) -> NewLink:
        if not is_sid(meeting_sid):  # it goes into a path
            raise MeetingRefused("a meeting's SID is 1 to 64 letters, digits, - and _")
        path = f"meetings/{meeting_sid}/one-off-links"
        status, body = await self._call(
            "create_link", "POST", path, LINK_MAX_BYTES, meeting_sid=meeting_sid
        )
        return answers.new_link(self._workspace, status, body)

    async def meetings(self) -> list[ProviderMeeting]:
        found: dict[str, ProviderMeeting] = {}
        async for entries in self._pages("meetings", MEETINGS_MAX_BYTES, {}):
            for entry in entries:
                meeting = answers.meeting(entry)
                if meeting is not None:
                    found[meeting.sid] = meeting
        return list(found.values())

    async def bookings(
        self, page: int, *, cancelled: bool, starts_after: datetime | None = None
    ) -> BookingPage:
        """Return one page of the bookings, as Provider.bookings says.

        The plain list has incomplete bookings, too; whether it has cancelled ones is not
        documented. No list can be filtered by the time of a change.
        """
        parameters = {"sorting_key": "created_at", "sorting_order": "desc"}
        if cancelled:
            parameters["type"] = "cancelled"
        if starts_after is not None:
            parameters["starts_after"] = starts_after.strftime("%Y-%m-%dT%H:%M:%SZ")
        entries, pages, _ = await self._page("bookings", BOOKINGS_MAX_BYTES, page, parameters)
        read = [answers.booking(each, self._workspace.ref_field) for each in entries]
        known = [each for each in read if each is not None]
        made = [event.made_at for event, _ in known if event.made_at is not None]
        ends = page >= pages if pages is not None else not entries
        return BookingPage(
            tuple(known), in_order=made == sorted(made, reverse=True), is_last=ends or not entries
        )

    def verify(self, body: bytes, signatures: Sequence[str]) -> None:
        secret = self._secret()
        if secret is None:
            name = refusals.setting(self._workspace, "webhook_secret")
            raise BadSignature(f"webhooks cannot be verified; set {name}")
        previous = self._workspace.webhook_secret_previous
        verify(
            secret,
            body,
            signatures,
            previous=previous.get_secret_value() if previous is not None else None,
        )

    def parse_event(self, body: bytes) -> BookingEvent:
        return webhooks.parse(body, self._workspace.ref_field)

    def redact(self, body: bytes, *, slugs: Sequence[str], rename: Callable[[str], str]) -> bytes:
        return redaction.redacted(
            body, ref_field=self._workspace.ref_field, slugs=slugs, rename=rename
        )

    async def close(self) -> None:
        await self._client.aclose()

    def _secret(self) -> str | None:
        secret = self._workspace.webhook_secret
        return (secret.get_secret_value() or None) if secret is not None else None

    async def _pages(
        self, key: str, max_bytes: int, parameters: Mapping[str, str]
    ) -> AsyncGenerator[list[answers.Entry], None]:
        last: bytes | None = None
        for number in range(1, PAGES_MAX + 1):
            entries, pages, body = await self._page(key, max_bytes, number, parameters)
            if not entries or body == last:  # past the end, or a server that knows no pages
                return
            yield entries
            if pages is not None and number >= pages:
                return
            last = body
        raise BadAnswer(f"NeetoCal lists more than {PAGES_MAX} pages of {key}")

    async def _page(
        self, key: str, max_bytes: int, number: int, parameters: Mapping[str, str]
    ) -> tuple[list[answers.Entry], int | None, bytes]:
        paging = {"page_number": str(number), "page_size": str(PAGE_SIZE)}
        status, body = await self._call(
            key, "GET", key, max_bytes, parameters={**parameters, **paging}
        )
        entries, pages = answers.page(status, body, key)
        return entries, pages, body

    async def _call(
        self,
        operation: str,
        method: str,
        path: str,
        max_bytes: int,
        *,
        parameters: Mapping[str, str] | None = None,
        meeting_sid: str | None = None,
    ) -> tuple[int, bytes]:
        """Return the status and body of a success. Raise ProviderError, within the time-out."""
        creating = meeting_sid is not None
        started = time.perf_counter()
        outcome: int | str = "cancelled"
        status = 0  # none yet
        body: bytes | None = b""
        retry_after: str | None = None
        try:
            # httpx limits each step; only this limits an answer that trickles in.
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream(
                    method, f"{self._workspace.api_url}/api/external/v2/{path}", params=parameters
                ) as response,
            ):
                status = response.status_code
                retry_after = response.headers.get("retry-after")
                self._note_clock(response.headers.get("date"))
                body = await _read(response, max_bytes)
            outcome = status
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            if status < 300:  # for a refusal, the status is enough
                timed_out = isinstance(error, TimeoutError | httpx.TimeoutException)
                never_sent = isinstance(error, _NEVER_SENT)
                outcome = "timeout" if timed_out else "unreachable" if never_sent else "broken"
                raise self._failure(
                    error, timed_out=timed_out, maybe_made=creating and not never_sent
                ) from error
            outcome, body = status, b""
        finally:
            if self._observe is not None:
                self._observe(operation, outcome, time.perf_counter() - started)
        if status not in ((200, 201) if creating else (200,)):
            raise refusals.error_of(
                self._workspace, status, body or b"", retry_after, meeting_sid=meeting_sid
            )
        if body is None:
            raise BadAnswer(
                f"NeetoCal answered {status} with more than {max_bytes} bytes, or compressed",
                status=status,
                maybe_made=creating,
            )
        return status, body

    def _note_clock(self, date: str | None) -> None:
        try:
            at = parsedate_to_datetime(date or "")
        except ValueError:
            return
        self._clock_offset_seconds = at.timestamp() - time.time()

    def _failure(self, error: Exception, *, timed_out: bool, maybe_made: bool) -> ProviderFailed:
        kind = type(error).__name__
        if timed_out:
            problem = f"NeetoCal did not answer in time ({kind})"
        else:
            problem = f"the connection to NeetoCal failed ({kind})"
        return ProviderFailed(
            f"{problem}; check the network and {refusals.setting(self._workspace, 'base_url')}",
            maybe_made=maybe_made,
        )


async def _read(response: httpx.Response, max_bytes: int) -> bytes | None:
    """Return the body, or None if it is too large, or compressed although we did not ask for it."""
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return None
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes:
        return None
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            return None
    return bytes(body)
