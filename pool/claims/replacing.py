"""Replace a link that no longer works at the provider: the customer gets a fresh one.

The script decides in one step: the customer's binding changes from the old link to the new
one, and the stream's entry carries both the claim of the new and the end of the old. A process
that dies at any point leaves either the old binding or the new one; the recorder brings the
entry to the ledger, and recovery loads from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from pool.claims.spot_links import SpotLinks, empty
from pool.durability.recorder import Recorder
from pool.errors import LinkpoolError, NotReplaceable, PoolEmpty, PoolPaused, UnknownClaim
from pool.ledger import Ledger
from pool.model.links import Claim, State
from pool.model.meetings import Meeting
from pool.store import Store
from pool.store.records import Replaced, payload
from pool.supply.link_maker import LinkMaker

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Replacement:
    """The claim that a customer holds after a replacement."""

    claim: Claim
    payload: bytes  # of the claim, so that it can be asserted again
    is_new: bool  # False: the old link had been replaced before


class Replacer:
    """Replaces links, for operators."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        recorder: Recorder,
        makers: Mapping[str, LinkMaker],
        *,
        timeout_seconds: float,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        self._links = SpotLinks(store, ledger, makers)
        self._timeout = timeout_seconds

    async def replace(
        self,
        meeting: Meeting,
        customer_id: str,
        reason: str,
        actor: str,
        *,
        slug: str | None = None,
    ) -> Replacement:
        """Give the customer a fresh link instead of the one they hold.

        If `slug` is given, replace only that link: if they hold another one by now, return it.
        Raise UnknownClaim, NotReplaceable (it is booked), PoolEmpty, PoolPaused, Fenced,
        StoreUnavailable or LedgerUnavailable; the customer then keeps the link they held.
        """
        sid = meeting.sid
        name = self._store.names.name(sid, customer_id)
        pool = meeting.pool_of(name)
        held = await self._store.claim_of(pool, customer_id)
        if held is None:
            raise UnknownClaim("this customer holds no link of this meeting")
        # The ledger must have the old claim before its end.
        await self._recorder.record(sid)
        row = await self._ledger.links.get(held.slug)
        kept = payload(customer_id, row.email, row.metadata) if row else payload(customer_id)
        if slug is not None and slug != held.slug:
            return Replacement(held, kept, is_new=False)
        answer = await self._store.replace(pool, name, held.slug, kept, reason)
        if answer.outcome is Replaced.EMPTY:
            if meeting.on_empty == "fail":
                raise empty(meeting, "the pool is empty")
            link = await self._links.make(meeting, pool, ends=time.monotonic() + self._timeout)
            made = link.slug
            answer = await self._store.replace(pool, name, held.slug, kept, reason, made=made)
            if answer.outcome is not Replaced.NEW:
                # Nobody has seen the new link, but it is in no pool: it is set aside.
                await self._ledger.links.move([made], State.QUARANTINED, at=datetime.now(UTC))
        if answer.claim is None or answer.outcome is Replaced.BOOKED:
            raise _refusal(answer.outcome, meeting)
        is_new = answer.outcome is Replaced.NEW
        if is_new:
            # The customer has the new link already, even if these fail.
            with suppress(LinkpoolError):
                await self._recorder.record(sid)
                detail: dict[str, object] = {"slug": held.slug, "by": answer.claim.slug}
                await self._ledger.audit.add(actor, "replace", sid, reason, detail)
        return Replacement(answer.claim, kept, is_new=is_new)


def _refusal(outcome: Replaced, meeting: Meeting) -> LinkpoolError:
    if outcome is Replaced.BOOKED:
        return NotReplaceable("this link is booked: another one could be booked a second time")
    if outcome is Replaced.NONE:
        return UnknownClaim("this customer holds no link of this meeting")
    if outcome is Replaced.PAUSED:
        return PoolPaused("claims of this meeting are paused", retry_after_seconds=30)
    return PoolEmpty("the pool is empty", fallback_url=meeting.fallback_url)
