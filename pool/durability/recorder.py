"""Write answered claims from the streams in Redis to the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import structlog
from msgspec import structs

from pool.config.settings import Settings
from pool.errors import LinkpoolError
from pool.ledger import Ledger
from pool.ledger.records import Recorded, RecordedClaim
from pool.model.claims import booked_claim
from pool.model.meetings import Meeting
from pool.model.pools import sid_of
from pool.model.times import from_ms
from pool.store import Store
from pool.store.records import StreamedClaim, payload

log = structlog.get_logger()

CLAIMS_PER_WRITE = 2_000


class Recorder:
    """Moves claims from the stream to the ledger. Running twice at once does no harm."""

    def __init__(
        self, store: Store, ledger: Ledger, settings: Settings, *, conflict: Callable[[], None]
    ) -> None:
        self._store = store
        self._conflict = conflict
        self._ledger = ledger
        self._settings = settings

    async def record(self, sid: str) -> int:
        """Record every claim in the streams of a meeting's pools, as `record_pool` does."""
        meeting = await self._ledger.meetings.get(sid)
        total = await self.record_pool(sid)
        if meeting is not None and meeting.shards > 1:
            for pool in meeting.pools:
                total += await self.record_pool(pool)
        return total

    async def record_pool(self, pool: str) -> int:
        """Record every claim in a pool's stream. Return the number of claims.

        An entry leaves the stream only once the ledger has it. If a claim's link was booked
        before the claim was recorded, Redis learns of the booking here.
        """
        claims = await self._store.stream.unrecorded(pool, CLAIMS_PER_WRITE)
        if not claims:
            return 0
        sid = sid_of(pool)
        meeting = await self._ledger.meetings.get(sid) or Meeting(sid)
        given = self._as_recorded(meeting, claims)
        total = 0
        while True:
            last = claims[-1].entry_id
            replacements = [claim for claim in claims if claim.replaces is not None]
            writing = asyncio.create_task(self._write(meeting, given))
            try:
                # The next claims are read and prepared while the database is at work.
                claims = await self._more(pool, last) if len(claims) >= CLAIMS_PER_WRITE else []
                total, given = total + len(given), self._as_recorded(meeting, claims)
            finally:
                await writing
            await self._end_replaced(replacements)
            await self._store.stream.trim(pool, last)
            if not claims:
                return total

    async def _end_replaced(self, replacements: list[StreamedClaim]) -> None:
        for new in replacements:
            if new.replaces is not None:
                await self._ledger.links.replaced(
                    new.replaces, new.customer_id, new.reason, at=from_ms(new.claimed_at_ms)
                )

    async def _write(self, meeting: Meeting, claims: list[RecordedClaim]) -> None:
        try:
            recorded = await self._ledger.links.record(claims)
        except LinkpoolError:
            raise
        except Exception:
            # The database cannot take one of the claims: the others must not wait for it.
            log.exception("claims not recorded together", meeting=meeting.sid, claims=len(claims))
            await self._write_singly(meeting, claims)
        else:
            await self._follow(meeting, recorded)

    async def _write_singly(self, meeting: Meeting, claims: list[RecordedClaim]) -> None:
        sid = meeting.sid
        for claim in claims:
            try:
                recorded = await self._ledger.links.record([claim])
            except LinkpoolError:
                raise
            except Exception:
                log.exception("a claim is recorded without e-mail and metadata", meeting=sid)
                bare = structs.replace(claim, email=None, metadata=None)
                try:
                    recorded = await self._ledger.links.record([bare])
                except LinkpoolError:
                    raise
                except Exception as error:
                    log.exception(
                        "a claim is set aside: the ledger takes it in no form", meeting=sid
                    )
                    await self._set_aside(sid, bare, type(error).__name__)
                    continue
            await self._follow(meeting, recorded)

    async def _set_aside(self, sid: str, claim: RecordedClaim, kind: str) -> None:
        fields = {b"s": claim.slug.encode(), b"c": payload(claim.customer_id)}
        reason = f"the ledger does not take it ({kind})"
        await self._store.set_aside.keep(sid, f"recorded-{claim.slug}", fields, reason)

    async def _follow(self, meeting: Meeting, recorded: Recorded) -> None:
        sid = meeting.sid
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
            booking = await self._ledger.bookings.foremost(link)
            pool = self._store.pool_of(meeting, link.customer_id) if link.customer_id else sid
            await self._store.mark(pool, link.slug, link.customer_id, booked_claim(link, booking))
        for claim in recorded.forgotten:
            # The binding of an erased customer came back, from an older file of Redis or from an
            # API process that asserted the claim again.
            pool = self._store.pool_of(meeting, claim.customer_id)
            await self._store.mark(pool, claim.slug, claim.customer_id, None)

    async def _more(self, pool: str, after: str) -> list[StreamedClaim]:
        await asyncio.sleep(0)  # so that the write starts first
        return await self._store.stream.unrecorded(pool, CLAIMS_PER_WRITE, after=after)

    def _as_recorded(self, meeting: Meeting, claims: list[StreamedClaim]) -> list[RecordedClaim]:
        workspace = self._settings.workspace(meeting.workspace)
        base_url = workspace.link_url if workspace else ""
        ttl = timedelta(seconds=meeting.claim_ttl_seconds)
        time_of = cache(from_ms)  # claims of one entry share it
        return [
            RecordedClaim(
                claim.slug,
                f"{base_url}/{claim.slug}",
                meeting.sid,
                claim.customer_id,
                claim.email,
                claim.metadata,
                claim.source,
                time_of(claim.claimed_at_ms),
                time_of(claim.claimed_at_ms) + ttl,
            )
            for claim in claims
        ]
