"""Draw what charts show once for all pages, and again only when there is something new to draw."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from pool.api.ops.charts.earlier import Before, same_reading
from pool.api.ops.charts.windows import Window
from pool.api.ops.live.pasts import Past

T = TypeVar("T")

_KEPT = 100


class Drawings(Generic[T]):
    """The drawings of the pasts that are being viewed, each of the reading it was made from."""

    def __init__(self) -> None:
        self._drawn: dict[Hashable, tuple[Past, Sequence[Before], T]] = {}

    def of(
        self,
        name: Hashable,
        window: Window,
        past: Past,
        before: Sequence[Before],
        draw: Callable[[], T],
    ) -> T:
        """Return the drawing of this name, window and reading, which `draw` makes if it is new."""
        key = (name, window.name, tuple(each.earlier for each in before))
        drawn = self._drawn.get(key)
        if drawn is None or drawn[0] is not past or not same_reading(drawn[1], before):
            if len(self._drawn) > _KEPT:
                self._drawn.clear()
            drawn = self._drawn[key] = (past, before, draw())
        return drawn[2]
