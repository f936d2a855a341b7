"""Say why a customer got no link: as an error, and in the word that counts it."""

from __future__ import annotations

from pool.errors import Fenced, LinkpoolError, PoolEmpty, PoolPaused, RateLimited
from pool.model.meetings import Meeting
from pool.store.records import Outcome


def refusal_of(meeting: Meeting, outcome: Outcome) -> LinkpoolError:
    """Return the error for a customer whom the script gave no link, though the pool has some."""
    if outcome is Outcome.LIMITED:
        return RateLimited(
            "too many new claims; customers who hold a link still get it", retry_after_seconds=10
        )
    if meeting.closed_reason and not meeting.paused:
        return PoolPaused(
            f"claims of this meeting are closed: {meeting.closed_reason}", retry_after_seconds=30
        )
    reason = f": {meeting.pause_reason}" if meeting.pause_reason else ""
    return PoolPaused(f"claims of this meeting are paused{reason}", retry_after_seconds=30)


def outcome_of(error: LinkpoolError) -> str:
    """Return how a claim ended, in the words of linkpool_claims_total."""
    if isinstance(error, PoolEmpty):
        return "empty"
    if isinstance(error, PoolPaused):
        return "paused"
    if isinstance(error, Fenced):
        return "recovering"
    return "limited" if isinstance(error, RateLimited) else "error"
