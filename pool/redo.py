"""What this process answered in the last seconds, to be asserted again after a fence.

A Redis that syncs its append-only file every second may forget the last one when it dies.
The claims it forgot were answered to visitors; whoever answered them says so again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pool.store.records import Redo

KEPT_SECONDS = 10.0
KEPT_CLAIMS = 200_000  # about 60 MB; 10 s at 20,000 claims/s
ALWAYS_KEPT_CLAIMS = 100  # of each meeting, however busy others are


class RedoBuffer:
    """The claims this process answered lately, bounded in time and number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, deque[tuple[float, Redo]]] = {}
        self._count = 0

    def remember(self, sid: str, redo: Redo) -> None:
        """Keeps one answered claim, and forgets those of its meeting that are too old."""
        now = self._clock()
        kept = self._kept.get(sid)
        if kept is None:
            kept = self._kept[sid] = deque()
        kept.append((now, redo))
        self._count += 1
        self._prune(kept, now)
        # A crowd at one meeting must not cost another its last claims.
        if self._count > KEPT_CLAIMS and len(kept) > ALWAYS_KEPT_CLAIMS:
            kept.popleft()
            self._count -= 1

    def lately(self, sid: str) -> list[Redo]:
        """The claims of one meeting that were answered in the last KEPT_SECONDS."""
        kept = self._kept.get(sid)
        if kept is None:
            return []
        self._prune(kept, self._clock())
        return [redo for _, redo in kept]

    def sids(self) -> set[str]:
        """The meetings of which something is kept."""
        now = self._clock()
        for sid, kept in list(self._kept.items()):
            self._prune(kept, now)
            if not kept:
                del self._kept[sid]
        return set(self._kept)

    def _prune(self, kept: deque[tuple[float, Redo]], now: float) -> None:
        while kept and kept[0][0] < now - KEPT_SECONDS:
            kept.popleft()
            self._count -= 1
