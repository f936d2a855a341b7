"""Leave a span for each claim; composed only where tracing is on."""

from __future__ import annotations

from typing import Any, cast

from opentelemetry.trace import Span, SpanKind, use_span

from pool.api.claim_path.claim_lane import Admitted, ClaimLane
from pool.api.http.messages import Headers
from pool.api.http.traced import carried
from pool.claims.queue import Receipt, Waiter
from pool.embeds import EmbedType, Options
from pool.model.links import is_sid
from pool.store.bindings import CustomerNames
from pool.telemetry.spans import MEETING, OUTCOME, WaitingSpans, failed
from pool.telemetry.tracing import Tracing


class TracedClaim(Admitted):
    """A claim under way, with its span."""

    __slots__ = ("span",)

    span: Span

    def read(self, body: bytes) -> None:
        """Parse and keep the body; end the span if it cannot be read."""
        try:
            super().read(body)
        except Exception as error:
            _end(self.span, error)
            raise

    def read_embedded(self, body: bytes, embed: EmbedType) -> Options:
        """Do the same for a body with options of the embed."""
        try:
            return super().read_embedded(body, embed)
        except Exception as error:
            _end(self.span, error)
            raise


class TracedLane(ClaimLane):
    """The claim lane, with a span "claim" from the head of a request to its answer."""

    def __init__(self, *args: Any, tracing: Tracing, names: CustomerNames) -> None:
        super().__init__(*args)
        self._tracing = tracing
        self._names = names

    def admit(self, sid: str, headers: Headers, address: str) -> Admitted:
        """Start the span and admit the claim; end the span if that fails."""
        span = self._tracing.tracer.start_span(
            "claim",
            context=self._tracing.context(carried(headers)),
            kind=SpanKind.SERVER,
            attributes={MEETING: sid if is_sid(sid) else "-"},
        )
        try:
            admitted = super().admit(sid, headers, address)
        except Exception as error:
            _end(span, error)
            raise
        claim = TracedClaim(sid, admitted.caller, admitted.address, admitted.limited)
        claim.span = span
        return claim

    def another(self, first: Admitted, headers: Headers) -> Admitted:
        """Return one more claim of a request, with a span of its own."""
        return self.admit(first.sid, headers, first.address)

    def join(self, admitted: Admitted, waiter: Waiter) -> None:
        """Put the customer in line, where the script call that serves the claim finds its span."""
        span, sid = cast(TracedClaim, admitted).span, admitted.sid
        name = self._names.name(sid, admitted.request.customer_id)
        self._tracing.waiting.enter(sid, name, span)
        with use_span(span):
            super().join(admitted, TracedWaiter(waiter, span, self._tracing.waiting, (sid, name)))


class TracedWaiter:
    """A waiter at the desk whose span ends with its answer."""

    __slots__ = ("_key", "_span", "_waiter", "_waiting")

    def __init__(
        self, waiter: Waiter, span: Span, waiting: WaitingSpans, key: tuple[str, str]
    ) -> None:
        self._waiter = waiter
        self._span = span
        self._waiting = waiting
        self._key = key

    def done(self) -> bool:
        """Return True if nobody waits any more. In that case, end the span."""
        if not self._waiter.done():
            return False
        self._leave()
        return True

    def set_result(self, receipt: Receipt, /) -> None:
        """Pass the claim on and end the span."""
        self._span.set_attribute(OUTCOME, receipt.outcome)
        self._leave()
        self._waiter.set_result(receipt)

    def set_exception(self, error: BaseException, /) -> None:
        """Pass on the reason why there is no claim, and end the span."""
        failed(self._span, error)
        self._leave()
        self._waiter.set_exception(error)

    def _leave(self) -> None:
        self._waiting.leave(*self._key, self._span)
        if self._span.is_recording():
            self._span.end()


def _end(span: Span, error: BaseException) -> None:
    failed(span, error)
    span.end()
