"""Explain a state on the spot: what visitors see, what linkpool does, what a person can do."""

from __future__ import annotations

from dataclasses import dataclass

from pool.model.incidents import Incident, What
from pool.operations.status import MeetingStatus


@dataclass(frozen=True, slots=True)
class Explanation:
    """A state that needs an explanation, in four sentences. `runbook` is a heading of the docs."""

    why: str
    visitors: str
    linkpool: str
    you: str
    runbook: str = ""


_SAME = "Customers who hold a link still get it."


def explain(status: MeetingStatus) -> Explanation | None:
    """Return the explanation of a pool's state; None if nothing is wrong."""
    meeting = status.meeting
    fallback = ", with the fallback address" if meeting.fallback_url else ""
    on_empty = (
        "New visitors wait a second or two for a link made on the spot"
        if meeting.on_empty == "direct"
        else f"New visitors get the error pool-empty{fallback}"
    )
    match status.state:
        case "ok":
            return None
        case "paused":
            return Explanation(
                f"A person paused it: {status.reason}",
                f"New visitors get the error pool-paused. {_SAME}",
                "Nothing, until somebody resumes it",
                "Resume it when the reason is gone",
            )
        case "recovering":
            return Explanation(
                f"{status.reason[:1].upper()}{status.reason[1:]}",
                "Everybody gets the error recovering, with the advice to come back in a second",
                "It sets aside all links that may have been shown, reads who holds which link from "
                "the ledger, and makes new links",
                "Wait: it takes seconds. If it lasts a minute, check that a worker is at work",
                "LinkpoolRecovering",
            )
        case "blocked":
            seen = (
                f"Nothing yet: {status.fresh:,} links are left"
                if status.fresh and not meeting.closed_reason
                else f"New visitors get no link{fallback}"
            )
            return Explanation(
                f"{status.reason[:1].upper()}{status.reason[1:]}",
                f"{seen}. {_SAME}",
                "It asks the provider again about once a minute, and tops up as soon as it may",
                "Mend the cause at the provider, then use Top up now: linkpool tries at once",
                "LinkpoolMeetingBlocked",
            )
        case "empty":
            return Explanation(
                "Links were claimed faster than they could be made",
                f"{on_empty}. {_SAME}",
                "It makes links as fast as the provider's budget allows",
                "Raise the minimum of links kept ready, or the request budget",
                "LinkpoolPoolEmpty",
            )
        case "low":
            return Explanation(
                f"{status.reason[:1].upper()}{status.reason[1:]}",
                "Nothing yet: everybody gets a link",
                "It makes links as fast as the provider's budget allows",
                _advice(status),
                "LinkpoolRunwayLow",
            )


def _advice(status: MeetingStatus) -> str:
    rate = status.claims_per_second
    if status.meeting.is_capped(rate):
        return f"Set the maximum of links kept ready to {status.meeting.wanted(rate):,} or more"
    return "Nothing, if it rises. If it falls further, raise the minimum of links kept ready"


def standing_of(status: MeetingStatus, incidents: tuple[Incident, ...] | None) -> Incident | None:
    """Return the incident that stands for a pool's state, which says since when; None if none."""
    kinds = {
        "paused": (What.PAUSE,),
        "blocked": (What.BLOCKED,),
        "empty": (What.DRY, What.PROVIDER, What.WORKER, What.BLOCKED),
        "low": (What.PROVIDER, What.WORKER),
    }.get(status.state, ())
    for each in incidents or ():
        if each.ended_at is None and each.what in kinds and each.concerns(status.meeting.sid):
            return each
    return None
