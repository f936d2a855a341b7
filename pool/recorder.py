"""Writes answered claims from the streams in Redis to the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from pool.ledger import Ledger
from pool.ledger.records import RecordedClaim
from pool.links import Claim, Link, State
from pool.meetings import Meeting
from pool.settings import Settings
from pool.store import Store
from pool.store.records import StreamedClaim

log = structlog.get_logger()

BATCH = 1000


class Recorder:
    """Moves claims from the stream to the ledger; running twice at once does no harm."""

    def __init__(
        self, store: Store, ledger: Ledger, settings: Settings, *, conflict: Callable[[], None]
    ) -> None:
        self._store = store
        self._conflict = conflict
        self._ledger = ledger
        self._settings = settings

    async def record(self, sid: str) -> int:
        """Records every claim of a meeting that stands in its stream; how many.

        An entry leaves the stream only once the ledger has it. A claim whose link was
        booked before this came round is made known to Redis here.
        """
        total = 0
        meeting: Meeting | None = None
        while claims := await self._store.unrecorded(sid, BATCH):
            meeting = meeting or await self._ledger.meetings.get(sid) or Meeting(sid)
            recorded = await self._ledger.links.record(
                [self._as_recorded(meeting, claim) for claim in claims]
            )
            for conflict in recorded.conflicts:
                log.error("one link, two customers", meeting=sid)
                self._conflict()
                await self._ledger.audit.add(
                    "recorder",
                    "conflict",
                    sid,
                    "a link was claimed by two customers",
                    {"slug": conflict.slug},
                )
            for link in recorded.settled:
                await self._store.mark(sid, link.slug, link.customer_id, booked_claim(link))
            await self._store.trim(sid, claims[-1].entry_id)
            total += len(claims)
            if len(claims) < BATCH:
                break
        return total

    def _as_recorded(self, meeting: Meeting, claim: StreamedClaim) -> RecordedClaim:
        claimed_at = from_ms(claim.claimed_at_ms)
        workspace = self._settings.workspace(meeting.workspace)
        return RecordedClaim(
            slug=claim.slug,
            url=f"{workspace.link_url if workspace else ''}/{claim.slug}",
            meeting_sid=meeting.sid,
            customer_id=claim.customer_id,
            email=claim.email,
            metadata=claim.metadata,
            source=claim.source,
            claimed_at=claimed_at,
            lapses_at=claimed_at + timedelta(seconds=meeting.claim_ttl_seconds),
        )


def from_ms(milliseconds: int) -> datetime:
    """An aware UTC time from milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_ms(at: datetime) -> int:
    """Milliseconds since 1970 of an aware time."""
    return round(at.timestamp() * 1000)


def booked_claim(link: Link) -> Claim | None:
    """What Redis should hold of a link the ledger calls consumed; None if it is gone."""
    if link.state is not State.CONSUMED:
        return None
    return Claim(
        slug=link.slug,
        state="consumed",
        source=link.source,
        claimed_at_ms=to_ms(link.claimed_at or link.created_at),
        consumed_at_ms=to_ms(link.consumed_at) if link.consumed_at else None,
        booking_sid=link.booking_sid,
    )
