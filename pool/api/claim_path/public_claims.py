"""Claim for anonymous visitors of pages that have a public key.

A public key proves nothing, so what it may take is bounded: new visitors per address and per
meeting in a minute, and never a link of the meeting's reserve or one made on the spot. Each process
counts for itself first, in memory, so that a flood costs Redis nothing; what passes is counted in
Redis for all processes together.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from pool.access.limits import MinuteLimit, network_of
from pool.access.public_keys import PublicKeyRing
from pool.access.visitors import Visitor, Visitors
from pool.claims.desk import Desk
from pool.claims.queue import Receipt
from pool.config.settings import Settings
from pool.errors import LinkpoolError, RateLimited
from pool.store.visitor_limits import VisitorLimits


@dataclass(frozen=True, slots=True)
class PublicReceipt:
    """A claim, and the id by which its visitor will be recognised."""

    receipt: Receipt
    visitor: str


class PublicClaims:
    """The claims with public keys of one API process."""

    def __init__(
        self,
        keys: PublicKeyRing,
        visitors: Visitors,
        desk: Desk,
        limits: VisitorLimits,
        settings: Settings,
    ) -> None:
        self._keys = keys
        self._visitors = visitors
        self._desk = desk
        self._limits = limits
        self._allowed = (
            settings.public_claims_per_minute_per_meeting,
            settings.public_claims_per_minute_per_address,
        )
        self._per_address = MinuteLimit(settings.public_claims_per_minute_per_address)
        self._per_meeting = MinuteLimit(settings.public_claims_per_minute_per_meeting)

    async def claim(
        self, key_id: str, origin: str | None, visitor_id: str | None, address: str
    ) -> PublicReceipt:
        """Return the visitor's link: the one they hold, or a fresh one above the reserve.

        A visitor's id that is not known for this key is ignored. Raise what `admit` raises, and
        what the desk raises; RateLimited at once for new visitors beyond the limits.
        """
        key = self._keys.admit(key_id, origin)
        known = self._visitors.known(key.id, visitor_id) if visitor_id else None
        who, sid = network_of(address), key.meeting_sid
        limit = next(
            (
                (limit, counted)
                for limit, counted in ((self._per_address, who), (self._per_meeting, sid))
                if limit.reached(counted)
            ),
            None,
        )
        if limit is not None and known is None:
            raise _too_many(limit[0].seconds_until_free(limit[1]))
        visitor = known or self._visitors.new(key.id)
        receipt = await self._claimed(
            sid, visitor, who, limited=limit is not None, new=known is None
        )
        return PublicReceipt(receipt, visitor.text)

    async def _claimed(
        self, sid: str, visitor: Visitor, who: str, *, limited: bool, new: bool
    ) -> Receipt:
        if not limited:
            self._per_address.count(who)
            self._per_meeting.count(sid)
        receipt: Receipt | None = None
        counted = gone = False
        try:
            if new:
                wait_seconds = await self._limits.admit(sid, who, *self._allowed)
                if wait_seconds:
                    raise _too_many(wait_seconds)
                counted = True
            receipt = await self._desk.claim(sid, visitor.customer_id, limited=limited)
        except asyncio.CancelledError:
            gone = True  # the client has gone, but a link may be spent: it stays counted
            raise
        finally:
            if not gone and (receipt is None or receipt.reused):
                if not limited:
                    self._per_address.give_back(who)
                    self._per_meeting.give_back(sid)
                if counted:
                    # What cannot be given back comes back by itself within a minute.
                    with suppress(LinkpoolError):
                        await self._limits.give_back(sid, who, *self._allowed)
        return receipt

    async def refresh(self) -> None:
        """Read the public keys again. Raise LedgerUnavailable."""
        await self._keys.refresh()

    async def close(self) -> None:
        """Wait for the claims that are under way."""
        await self._desk.close()


def _too_many(wait_seconds: float) -> RateLimited:
    return RateLimited(
        "too many new visitors; those who hold a link still get it",
        retry_after_seconds=max(1, round(wait_seconds + 0.5)),
    )
