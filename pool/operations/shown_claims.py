"""Find what a page may show of a link: the claim of the customer who holds it."""

from __future__ import annotations

from pool.errors import UnknownClaim, UnknownLink
from pool.ledger import Ledger
from pool.model.claims import claim_of_link
from pool.model.links import Claim, Link, State, is_slug
from pool.store import Store


async def claim_of_slug(ledger: Ledger, store: Store, slug: str) -> tuple[Link, Claim]:
    """Return the link with this slug and the claim that binds it.

    Raise UnknownLink if linkpool did not make it, and UnknownClaim if no customer holds it.
    """
    found = await ledger.search.link(slug) if is_slug(slug) else None
    if found is None:
        raise UnknownLink("linkpool has made no link with this slug")
    link = found.link
    if link.state is State.FRESH:
        # Claimed a moment ago, it is not in the pool any more and not yet in the ledger as claimed.
        [pooled] = await store.stock.pooled(link.meeting_sid, [slug])
        held = not pooled
    else:
        held = link.state in (State.CLAIMED, State.CONSUMED)
    if not held:
        raise UnknownClaim(f"no customer holds this link; it is {link.state.value}")
    return link, claim_of_link(link, await ledger.bookings.foremost(link))
