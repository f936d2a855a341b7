"""Name what spans carry, and find the spans of claims that wait."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.trace import Span, StatusCode

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
