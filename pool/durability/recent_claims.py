"""Keep the claims that this process answered in the last seconds, to assert them after a fence.

A Redis that syncs its append-only file every second may forget the last second when it dies.
Visitors have got answers for the claims it forgot, so the process that gave these answers asserts
the claims again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from pool.store.records import AnsweredClaim

KEPT_SECONDS = 10.0
# With Sentinels, a replaced master goes on answering clients that do not know of the new one until
# the Sentinels turn it into a replica. That takes about ten seconds.
FAILOVER_KEPT_SECONDS = 30.0
KEPT_CLAIMS = 200_000  # about 30 MB; 10 s at 20,000 claims/s
ALWAYS_KEPT_CLAIMS = 100  # of each meeting, however busy others are

_decoder = msgspec.msgpack.Decoder(list[AnsweredClaim])
_encode = msgspec.msgpack.Encoder().encode


class _Kept:
    """The batches kept of one meeting, oldest first."""

    __slots__ = ("batches", "count")

    def __init__(self) -> None:
        # When a batch was answered, how many claims it has, and the claims. They are packed: as
        # objects they would take a tenth of the claim path's time, most of it for freeing them.
        self.batches: deque[tuple[float, int, bytes]] = deque()
        self.count = 0


class RecentClaims:
    """The claims this process answered lately, bounded in time and number."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, seconds: float = KEPT_SECONDS
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._count = 0

    def remember(self, sid: str, claims: Sequence[AnsweredClaim]) -> None:
        """Keep claims that are answered now, and forget those of the meeting that are too old."""
        if not claims:
            return
        now = self._clock()
        kept = self._kept.get(sid)
        if kept is None:
            kept = self._kept[sid] = _Kept()
        kept.batches.append((now, len(claims), _encode(claims)))
        kept.count += len(claims)
        self._count += len(claims)
        self._prune(kept, now)
        # A crowd at one meeting must not displace another meeting's last claims.
        while self._count > KEPT_CLAIMS and kept.count - kept.batches[0][1] >= ALWAYS_KEPT_CLAIMS:
            self._drop_oldest(kept)

    def lately(self, sid: str) -> list[AnsweredClaim]:
        """Return the claims of one meeting that were answered in the last `seconds`."""
        return self.since(sid, None)

    def newest(self, sid: str) -> object:
        """Return a value that identifies the meeting's last answer; each answer has another."""
        kept = self._kept.get(sid)
        return kept.batches[-1] if kept is not None and kept.batches else None

    def since(self, sid: str, newest: object) -> list[AnsweredClaim]:
        """Return the claims that `lately` returns, without those up to the answer `newest`."""
        kept = self._kept.get(sid)
        if kept is None:
            return []
        self._prune(kept, self._clock())
        later: list[bytes] = []
        for batch in reversed(kept.batches):
            if batch is newest:
                break
            later.append(batch[2])
        return [claim for packed in reversed(later) for claim in _decoder.decode(packed)]

    def sids(self) -> set[str]:
        """Return the SIDs of the meetings whose claims are kept."""
        now = self._clock()
        for sid, kept in list(self._kept.items()):
            self._prune(kept, now)
            if not kept.batches:
                del self._kept[sid]
        return set(self._kept)

    def _prune(self, kept: _Kept, now: float) -> None:
        while kept.batches and kept.batches[0][0] < now - self.seconds:
            self._drop_oldest(kept)

    def _drop_oldest(self, kept: _Kept) -> None:
        _, count, _ = kept.batches.popleft()
        kept.count -= count
        self._count -= count
