"""Name the attributes of spans, and keep the spans of waiting claims."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.trace import Span, StatusCode

MEETING = "linkpool.meeting"
WORKSPACE = "linkpool.workspace"
OUTCOME = "linkpool.outcome"
CUSTOMERS = "linkpool.customers"  # their number


def failed(span: Span, error: BaseException) -> None:
    """Mark a span as failed with the kind of error only: its message may contain user input."""
    span.set_status(StatusCode.ERROR, type(error).__name__)
    span.set_attribute(OUTCOME, type(error).__name__)


class WaitingSpans:
    """The spans of claims that wait at the desk, by meeting and customer name."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], Span] = {}

    def enter(self, sid: str, name: str, span: Span) -> None:
        """Remember the span of a claim that starts to wait. A customer's first claim is kept."""
        self._spans.setdefault((sid, name), span)

    def leave(self, sid: str, name: str, span: Span) -> None:
        """Forget the span of a claim that was answered."""
        if self._spans.get((sid, name)) is span:
            del self._spans[sid, name]

    def of(self, sid: str, names: Sequence[str]) -> list[Span]:
        """Return the spans of the customers among these who wait here."""
        return [span for name in names if (span := self._spans.get((sid, name)))]
