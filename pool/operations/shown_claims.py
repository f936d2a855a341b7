"""Find the claim that a page may show for a link: that of the customer who holds it."""

from __future__ import annotations

from pool.errors import UnknownClaim, UnknownLink
from pool.ledger import Ledger
from pool.model.claims import claim_of_link
from pool.model.links import Claim, Link, State, is_slug
from pool.model.pools import pool_of_epoch
from pool.store import Store


async def link_of_slug(ledger: Ledger, slug: str) -> Link:
    """Return the link with this slug. Raise UnknownLink if linkpool did not make it."""
    found = await ledger.search.link(slug) if is_slug(slug) else None
    if found is None:
        raise UnknownLink("linkpool has made no link with this slug")
    return found.link


async def claim_on(ledger: Ledger, store: Store, link: Link) -> Claim:
    """Return the claim that binds a link. Raise UnknownClaim if no customer holds it."""
    if link.state is State.FRESH:
        # Claimed a moment ago, it is not in the pool any more and not yet in the ledger as claimed.
        pool = pool_of_epoch(link.meeting_sid, link.epoch)
        [pooled] = await store.stock.pooled(pool, [link.slug])
        held = not pooled
    else:
        held = link.state in (State.CLAIMED, State.CONSUMED)
    if not held:
        raise UnknownClaim(f"no customer holds this link; it is {link.state.value}")
    return claim_of_link(link, await ledger.bookings.foremost(link))
