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


class RedoBuffer:
    """The claims this process answered lately, oldest first, bounded in time and number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: deque[tuple[float, str, Redo]] = deque(maxlen=KEPT_CLAIMS)

    def remember(self, sid: str, redo: Redo) -> None:
        """Keeps one answered claim, and forgets those that are too old."""
        now = self._clock()
        self._kept.append((now, sid, redo))
        while self._kept[0][0] < now - KEPT_SECONDS:
            self._kept.popleft()

    def lately(self, sid: str) -> list[Redo]:
        """The claims of one meeting that were answered in the last KEPT_SECONDS."""
        since = self._clock() - KEPT_SECONDS
        return [redo for at, owner, redo in self._kept if owner == sid and at >= since]

    def sids(self) -> set[str]:
        """The meetings of which something is kept."""
        return {sid for _, sid, _ in self._kept}
