"""Report the health of each workspace's webhooks."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from pool.errors import MalformedJson, StoreError
from pool.ledger import Ledger
from pool.ledger.facts import RECONCILED
from pool.ledger.inbox_search import Sought
from pool.ledger.records import EventState, InboxEvent
from pool.model.outcomes import webhooks_of
from pool.providers import Provider
from pool.store import Store
from pool.store.records import Span

COUNTED_MOST = 9_999


@dataclass(frozen=True, slots=True)
class HookHealth:
    """The health of one workspace's webhooks."""

    workspace: str
    can_verify: bool
    received_at: datetime | None  # the last one; None: none that is kept
    # The usual and the longest delay, among the last few, from an event by the provider's clock to
    # its arrival. None: their events name no time.
    usual_delay_seconds: float | None
    longest_delay_seconds: float | None
    dead: int  # at most one more than COUNTED_MOST
    reconciled_at: datetime | None  # when the provider was last asked for missed bookings


async def hooks_of(ledger: Ledger, providers: Mapping[str, Provider]) -> list[HookHealth]:
    """Return the health of the webhooks of all workspaces. Raise LedgerUnavailable."""
    asked = await ledger.facts.beginning_with(RECONCILED)
    found = []
    for name, provider in providers.items():
        latest = await ledger.inbox_search.latest_webhooks(name)
        delays = [delay for each in latest if (delay := _delay(provider, each)) is not None]
        text = asked.get(name)
        dead = Sought(EventState.DEAD, name)
        found.append(
            HookHealth(
                name,
                provider.can_verify,
                latest[0].received_at if latest else None,
                statistics.median(delays) if delays else None,
                max(delays, default=None),
                await ledger.inbox_search.count(dead, None, most=COUNTED_MOST),
                datetime.fromisoformat(text) if text else None,
            )
        )
    return found


async def refused_lately(store: Store, workspaces: Collection[str]) -> dict[str, int] | None:
    """Return how many webhooks of each workspace had a wrong signature in the last hour.

    The result is None if that is not known.
    """
    try:
        pasts = await store.tallies.past([webhooks_of(each) for each in workspaces], Span.HOUR)
    except StoreError:
        return None
    counts = (past.sum["bad_signature"] for past in pasts)
    return dict(zip(workspaces, counts, strict=True))


def _delay(provider: Provider, event: InboxEvent) -> float | None:
    """Return the seconds from an event to its arrival. The two clocks may differ a little."""
    try:
        at = provider.parse_event(event.body).at if event.body else None
    except MalformedJson:
        return None
    return None if at is None else max(0.0, (event.received_at - at).total_seconds())
