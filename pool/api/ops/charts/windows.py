"""List the spans of the past that charts and tables show, and their steps."""

from __future__ import annotations

from dataclasses import dataclass

from pool.store.records import Span

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Window:
    """A span of the past, and the steps in which charts and table show it."""

    name: str  # as in the address
    label: str  # in the picker
    words: str
    seconds: int
    span: Span | None  # whose samples are shown; None: the hours that the ledger keeps
    bucket_seconds: int  # covered by one point of the line
    tick_seconds: int
    tick_format: str
    row_seconds: int  # covered by one row of the table

    @property
    def in_redis(self) -> bool:
        """Return True if Redis has this span, False if the ledger has."""
        return self.span is not None

    @property
    def step_seconds(self) -> int:
        """Return the time between two samples."""
        return self.span.step_seconds if self.span else HOUR


WINDOWS = (
    Window("10min", "10 min", "the last 10 minutes", 10 * MINUTE, Span.HOUR,
           10, 2 * MINUTE, "%H:%M", MINUTE),
    Window("hour", "Hour", "the last hour", HOUR, Span.HOUR,
           30, 10 * MINUTE, "%H:%M", 5 * MINUTE),
    Window("6h", "6 h", "the last 6 hours", 6 * HOUR, Span.DAY,
           2 * MINUTE, HOUR, "%H:%M", 30 * MINUTE),
    Window("day", "Day", "the last day", DAY, Span.DAY,
           10 * MINUTE, 4 * HOUR, "%H:%M", 2 * HOUR),
    Window("week", "Week", "the last week", 7 * DAY, Span.WEEK,
           HOUR, DAY, "%a %-d", DAY),
    Window("month", "30 days", "the last 30 days", 30 * DAY, Span.FIVE_WEEKS,
           6 * HOUR, 5 * DAY, "%-d %b", DAY),
    Window("90days", "90 days", "the last 90 days", 90 * DAY, None,
           12 * HOUR, 15 * DAY, "%-d %b", 7 * DAY),
)  # fmt: skip
BY_NAME = {window.name: window for window in WINDOWS}
DEFAULT = BY_NAME["hour"]
