"""Define the parts of a chart that templates write as SVG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pool.api.ops.charts.buckets import Bucket

Value = Callable[[Bucket], float]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: its place, in percent of the axis or pixels, and its label."""

    at: float
    label: str
    anchor: str = "middle"
    minor: bool = False  # left out where there is little room
    at_seconds: int = 0  # since 1970, for an axis of time


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity: SVG paths, one per stretch without a gap."""

    kind: str  # its class in the style sheet
    label: str
    paths: tuple[str, ...]
    areas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spot:
    """The text shown for a stretch of the chart, by mouse or keyboard."""

    x: float
    width: float
    at_seconds: int  # since 1970
    values: str

    @property
    def words(self) -> str:
        """Return the text with its time in UTC, for pages without scripts."""
        return f"{datetime.fromtimestamp(self.at_seconds, UTC):%a %H:%M:%S} UTC: {self.values}"


@dataclass(frozen=True, slots=True)
class Mark:
    """An incident on a chart, from its beginning to its end."""

    x: float
    width: float
    kind: str
    at_seconds: int
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. `words` describes in a sentence what it shows."""

    title: str
    unit: str
    words: str
    lines: tuple[Line, ...]
    up: tuple[Tick, ...]  # at: units of HEIGHT from the top
    across: tuple[Tick, ...]  # at: percent from the left
    spots: tuple[Spot, ...]
    marks: tuple[Mark, ...] = ()
    unders: tuple[Line, ...] = ()  # of earlier stretches, the first quantity only


@dataclass(frozen=True, slots=True)
class Under:
    """An earlier stretch whose line lies under the present one, on the same axes."""

    kind: str  # its class in the style sheet
    label: str
    found: tuple[Bucket, ...]  # at the times of the window
