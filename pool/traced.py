"""Parts of linkpool that leave spans: the script, links made on the spot, the provider.

Each stands in for the part it is named for, and is composed only where traces are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from opentelemetry import context as contexts
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context

from pool.direct import DirectLadder
from pool.errors import LinkpoolError
from pool.links import Claim
from pool.meetings import Meeting
from pool.providers import BookingPage, NewLink, Provider, ProviderMeeting
from pool.store import Store
from pool.store.records import Answer, Batch
from pool.tracing import Tracing

MEETING = "linkpool.meeting"
WORKSPACE = "linkpool.workspace"
OUTCOME = "linkpool.outcome"
CUSTOMERS = "linkpool.customers"  # how many, not who


def failed(span: Span, error: BaseException) -> None:
    """Marks a span as failed, by the kind of error alone: a message may be somebody's input."""
    span.set_status(StatusCode.ERROR, type(error).__name__)
    span.set_attribute(OUTCOME, type(error).__name__)


class WaitingSpans:
    """The spans of claims that wait at the desk, by meeting and customer name."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], Span] = {}

    def enter(self, sid: str, name: str, span: Span) -> None:
        """A claim waits from now on; of several of one customer the first is remembered."""
        self._spans.setdefault((sid, name), span)

    def leave(self, sid: str, name: str, span: Span) -> None:
        """It was answered."""
        if self._spans.get((sid, name)) is span:
            del self._spans[sid, name]

    def of(self, sid: str, names: Sequence[str]) -> list[Span]:
        """The spans of these customers, as far as they wait here."""
        return [span for name in names if (span := self._spans.get((sid, name)))]


class TracedStore(Store):
    """A store whose scripts that hand out or add links are spans."""

    tracing: Tracing
    waiting: WaitingSpans

    def trace(self, tracing: Tracing) -> Self:
        """The store itself; to be called before anything else."""
        self.tracing, self.waiting = tracing, WaitingSpans()
        return self

    def claim_at_once(self, *_: Any) -> None:
        """Never: a span is current in a task of its own."""

    async def claim(self, sid: str, customers: Sequence[tuple[str, bytes]]) -> Batch:
        """One script call for many claims: in the trace of the first, linked from the others'."""
        waiting = self.waiting.of(sid, [name for name, _ in customers])
        if waiting:
            # Stays so for the rest of this batch: what it asks of workers belongs to it.
            contexts.attach(set_span_in_context(waiting[0]))
        with self.tracing.tracer.start_as_current_span(
            "claim script",
            kind=SpanKind.CLIENT,
            attributes={MEETING: sid, CUSTOMERS: len(customers)},
            links=[Link(other.get_span_context()) for other in waiting[1:]],
            record_exception=False,
        ) as span:
            batch = await super().claim(sid, customers)
            span.set_attribute("linkpool.level", batch.level)
            return batch

    async def bind(self, sid: str, epoch: str, slug: str, name: str, payload: bytes) -> Answer:
        """Binding a link made on the spot."""
        with self.tracing.tracer.start_as_current_span(
            "bind script", kind=SpanKind.CLIENT, attributes={MEETING: sid}, record_exception=False
        ) as span:
            answer = await super().bind(sid, epoch, slug, name, payload)
            span.set_attribute(OUTCOME, answer.outcome.value)
            return answer

    async def add(self, sid: str, epoch: str, slugs: Sequence[str], made_at_ms: int) -> int:
        """New links enter a pool."""
        with self.tracing.tracer.start_as_current_span(
            "add script",
            kind=SpanKind.CLIENT,
            attributes={MEETING: sid, "linkpool.links": len(slugs)},
            record_exception=False,
        ):
            return await super().add(sid, epoch, slugs, made_at_ms)

    async def mark(self, sid: str, slug: str, customer_id: str | None, claim: Claim | None) -> bool:
        """Redis is told of a booking."""
        with self.tracing.tracer.start_as_current_span(
            "mark script", kind=SpanKind.CLIENT, attributes={MEETING: sid}, record_exception=False
        ):
            return await super().mark(sid, slug, customer_id, claim)


class TracedLadder(DirectLadder):
    """Links made on the spot, each in the trace of the claim that wants it."""

    tracing: Tracing
    waiting: WaitingSpans

    def trace(self, store: TracedStore) -> Self:
        """The ladder itself; to be called before anything else."""
        self.tracing, self.waiting = store.tracing, store.waiting
        return self

    async def climb(self, meeting: Meeting, name: str, payload: bytes) -> tuple[Claim, bool]:
        """As the ladder's."""
        wanted = self.waiting.of(meeting.sid, [name])
        with self.tracing.tracer.start_as_current_span(
            "make on the spot",
            context=set_span_in_context(wanted[0]) if wanted else None,
            attributes={MEETING: meeting.sid},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await super().climb(meeting, name, payload)
            except LinkpoolError as error:
                failed(span, error)
                raise


class TracedProvider:
    """A provider whose requests are spans."""

    def __init__(self, provider: Provider, workspace: str, tracing: Tracing) -> None:
        self._provider = provider
        self._workspace = workspace
        self._tracing = tracing

    def __getattr__(self, name: str) -> Any:
        # What asks nobody: settings, signatures, parsing.
        return getattr(self._provider, name)

    async def create_link(self, meeting_sid: str) -> NewLink:
        """Asks for one link."""
        with self._asking("create link", **{MEETING: meeting_sid}) as span:
            try:
                return await self._provider.create_link(meeting_sid)
            except LinkpoolError as error:
                failed(span, error)
                raise

    async def meetings(self) -> list[ProviderMeeting]:
        """Asks for the meetings."""
        with self._asking("list meetings"):
            return await self._provider.meetings()

    async def bookings(
        self, page: int, *, cancelled: bool, starts_after: datetime | None = None
    ) -> BookingPage:
        """Asks for a page of the bookings."""
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
