"""Script a provider at the seam of `pool.providers`."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime

from pool.errors import MeetingRefused, ProviderFailed, Throttled, WorkspaceRefused
from pool.providers import (
    BookingEvent,
    BookingPage,
    NewLink,
    ProviderMeeting,
    redaction,
    webhooks,
)
from pool.providers.signatures import verify

# What one request for a link comes to: an error to raise, the slug it gives, None for a new
# one, or a function that is awaited while the request is under way and says which of these.
Answer = Exception | str | None
Step = Answer | Callable[[], Awaitable[Answer]]

THROTTLED = Throttled("NeetoCal says 429", retry_after_seconds=30.0)
FAILED = ProviderFailed("NeetoCal says 500", status=500)
LOST = ProviderFailed("the connection to NeetoCal failed", maybe_made=True)
MEETING_REFUSED = MeetingRefused("NeetoCal says 404", status=404)
WORKSPACE_REFUSED = WorkspaceRefused("NeetoCal says 401", status=401)


class ScriptedProvider:
    """A provider that makes a new link for each request, unless the test says otherwise.

    `will` sets the results of a meeting's next requests and `always` those of all others; `seconds`
    is the duration of each, and `gate` holds all of them back.
    """

    clock_offset_seconds: float | None = None

    def __init__(
        self,
        link_url: str = "https://acme.neetocal.com",
        *,
        secret: str = "",
        ref_field: str | None = None,
    ) -> None:
        self.link_url = link_url
        self.seconds = 0.0
        self.gate: asyncio.Event | None = None
        self.asked: list[str] = []  # the meetings, request by request
        self.made: list[NewLink] = []
        self.under_way = 0
        self.most_under_way = 0
        self.listed: list[ProviderMeeting] = []
        self.list_error: Exception | None = None
        self.lists = 0  # asked for
        self.pages: list[list[tuple[BookingEvent, bytes]] | Exception] = []
        self.cancelled_pages: list[list[tuple[BookingEvent, bytes]] | Exception] = []
        # Of each request for bookings: the page, whether of the cancelled, and `starts_after`.
        self.bookings_asked: list[tuple[int, bool, datetime | None]] = []
        self.closed = False
        self._secret = secret
        self._ref_field = ref_field
        self._numbers = itertools.count(1)
        self._next: defaultdict[str, deque[Step]] = defaultdict(deque)
        self._always: dict[str, Step] = {}

    def will(self, sid: str, *steps: Step) -> None:
        """Set the results of the next requests for links of this meeting, one after the other."""
        self._next[sid].extend(steps)

    def always(self, step: Step, *sids: str) -> None:
        """Set the result of every other request for these meetings, or for all if none is named."""
        for sid in sids or ("",):
            self._always[sid] = step

    def requests(self) -> Counter[str]:
        """Return the number of links asked for, by meeting."""
        return Counter(self.asked)

    # -- the seam ------------------------------------------------------------------

    @property
    def can_verify(self) -> bool:
        return bool(self._secret)

    async def create_link(self, meeting_sid: str) -> NewLink:
        self.asked.append(meeting_sid)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(self.seconds)
            step = self._step(meeting_sid)
            answer = await step() if callable(step) else step
        finally:
            self.under_way -= 1
        if isinstance(answer, Exception):
            raise answer
        slug = answer or f"one-off-{next(self._numbers):012x}"
        self.made.append(NewLink(slug, f"{self.link_url}/{slug}"))
        return self.made[-1]

    async def meetings(self) -> list[ProviderMeeting]:
        self.lists += 1
        if self.list_error is not None:
            raise self.list_error
        return self.listed

    async def bookings(
        self, page: int, *, cancelled: bool, starts_after: datetime | None = None
    ) -> BookingPage:
        self.bookings_asked.append((page, cancelled, starts_after))
        await asyncio.sleep(self.seconds)
        pages = self.cancelled_pages if cancelled else self.pages
        found = pages[page - 1] if page <= len(pages) else []
        if isinstance(found, Exception):
            raise found
        made = [event.made_at for event, _ in found if event.made_at is not None]
        return BookingPage(
            tuple(found),
            in_order=made == sorted(made, reverse=True),
            is_last=page >= len(pages),
        )

    def verify(self, body: bytes, signatures: Sequence[str]) -> None:
        verify(self._secret, body, signatures)

    def parse_event(self, body: bytes) -> BookingEvent:
        return webhooks.parse(body, self._ref_field)

    def redact(self, body: bytes, *, slugs: Sequence[str], rename: Callable[[str], str]) -> bytes:
        return redaction.redacted(body, ref_field=self._ref_field, slugs=slugs, rename=rename)

    async def close(self) -> None:
        self.closed = True

    def list_bookings(self, *pages: Iterable[bytes], cancelled: bool = False) -> None:
        """Set the list of bookings, page by page, as bodies in the form of webhooks."""
        parsed: list[list[tuple[BookingEvent, bytes]] | Exception] = [
            [(self.parse_event(body), body) for body in page] for page in pages
        ]
        if cancelled:
            self.cancelled_pages = parsed
        else:
            self.pages = parsed

    def _step(self, sid: str) -> Step:
        if self._next[sid]:
            return self._next[sid].popleft()
        return self._always.get(sid, self._always.get(""))
