"""Leave a span for each request to the provider."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from opentelemetry.trace import SpanKind

from pool.errors import LinkpoolError
from pool.providers import BookingPage, NewLink, Provider, ProviderMeeting
from pool.telemetry.spans import MEETING, WORKSPACE, failed
from pool.telemetry.tracing import Tracing


class TracedProvider:
    """A provider whose requests are spans."""

    def __init__(self, provider: Provider, workspace: str, tracing: Tracing) -> None:
        self._provider = provider
        self._workspace = workspace
        self._tracing = tracing

    def __getattr__(self, name: str) -> Any:
        # Everything that makes no request: settings, signatures, parsing.
        return getattr(self._provider, name)

    async def create_link(self, meeting_sid: str) -> NewLink:
        """Make one link within a span."""
        with self._asking("create link", **{MEETING: meeting_sid}) as span:
            try:
                return await self._provider.create_link(meeting_sid)
            except LinkpoolError as error:
                failed(span, error)
                raise

    async def meetings(self) -> list[ProviderMeeting]:
        """List the meetings within a span."""
        with self._asking("list meetings"):
            return await self._provider.meetings()

    async def bookings(
        self, page: int, *, cancelled: bool, starts_after: datetime | None = None
    ) -> BookingPage:
        """List a page of the bookings within a span."""
        with self._asking("list bookings"):
            return await self._provider.bookings(
                page, cancelled=cancelled, starts_after=starts_after
            )

    def _asking(self, what: str, **attributes: str) -> Any:
        return self._tracing.tracer.start_as_current_span(
            what,
            kind=SpanKind.CLIENT,
            attributes={WORKSPACE: self._workspace, **attributes},
            record_exception=False,
            set_status_on_exception=False,
        )
