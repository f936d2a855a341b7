"""Explain a state on the spot: what visitors see, what linkpool does, what a person can do."""

from __future__ import annotations

from dataclasses import dataclass

from pool.model.incidents import Incident, What
from pool.model.meetings import Meeting
from pool.operations.status import MeetingStatus
from pool.operations.words import about, count_words


@dataclass(frozen=True, slots=True)
class Explanation:
    """A state in four sentences. `runbook` is an alert, whose section of the docs says more."""

    why: str
    visitors: str
    linkpool: str
    you: str
    runbook: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice on a silent part: its effect on visitors, and who does what about it.

    `runbook` is an alert, whose section of the docs says more.
    """

    visitors: str
    linkpool: str
    you: str
    runbook: str


ADVICE = {
    What.REDIS: Advice(
        "They get no link, and are asked to come again in a second",
        "It tries to reach Redis all the time; once it is back, the pools recover by themselves",
        "If it stays away, check the Redis server: `linkpool doctor` says what is wrong",
        "LinkpoolRedisAway",
    ),
    What.WORKER: Advice(
        "They get links while the pools last",
        "It hands out what the pools hold, and keeps the claims to record them later",
        "Check that `linkpool worker` and `linkpool beat` are running",
        "LinkpoolWorkerStuck",
    ),
    What.PROVIDER: Advice(
        "They get links while the pools last",
        "It keeps asking, and makes links as soon as it gets an answer",
        "If it lasts, look at the provider's status page",
        "LinkpoolProviderBlocked",
    ),
    What.LEDGER: Advice(
        "They get links while the pools last",
        "It makes no links until the ledger is back, and records claims then",
        "Check the database server: `linkpool doctor` says what is wrong",
        "LinkpoolLedgerLagGrows",
    ),
}
_SAME = "Customers who hold a link still get it."


def explain(status: MeetingStatus, turned_away: int = 0) -> Explanation:
    """Return the explanation of a pool's state.

    `turned_away` is how many visitors of it got no link in the last ten minutes.
    """
    meeting = status.meeting
    fallback = ", with the fallback address" if meeting.fallback_url else ""
    on_empty = (
        "New visitors wait a second or two for a link made on the spot"
        if meeting.on_empty == "direct"
        else f"New visitors get the error pool-empty{fallback}"
    )
    match status.state:
        case "ok":
            return Explanation(
                "There are enough fresh links for the present claim rate",
                "Everybody gets a link at once",
                "It makes a new link for each that is claimed",
                "Nothing",
            )
        case "paused":
            return Explanation(
                f"An operator paused it: {status.reason}",
                f"New visitors get the error pool-paused{fallback}. {_SAME}",
                "Nothing until an operator resumes it",
                "Resume it once the reason no longer applies",
            )
        case "recovering" if status.reason.startswith("sealed"):
            return Explanation(
                _sentence(status.reason),
                "Everybody gets the error recovering, and is asked to retry in a second",
                "It waits for Redis to be restarted, and then hands out the same links",
                "Restart Redis, or run `linkpool seal --undo` if it is not to be restarted",
                "LinkpoolRecovering",
            )
        case "recovering":
            return Explanation(
                _sentence(status.reason),
                "Everybody gets the error recovering, and is asked to retry in a second",
                "It sets aside all links that may have been shown, reads who holds which link from "
                "the ledger, and makes new links",
                "Wait: it takes seconds. If it lasts a minute, check that a worker is running",
                "LinkpoolRecovering",
            )
        case "blocked":
            return _blocked(status, fallback)
        case "empty":
            return Explanation(
                "Links were claimed faster than they could be made",
                f"{on_empty}. {_SAME}",
                "It makes links as fast as the provider's budget allows",
                _advice_if_empty(status),
                "LinkpoolPoolEmpty",
            )
        case "low":
            return Explanation(
                _sentence(status.reason),
                f"Links come and go: {count_words(turned_away, 'visitor')} got none in the last "
                "10 minutes"
                if turned_away
                else "Nothing yet: everybody gets a link",
                "It makes links as fast as the provider's budget allows",
                _advice(status),
                "LinkpoolRunwayLow",
            )


def _blocked(status: MeetingStatus, fallback: str) -> Explanation:
    """Return the explanation of a pool that gets no new links: by whom, and for how long."""
    why = _sentence(status.reason)
    if status.reason.startswith("its keys in Redis"):
        return Explanation(
            why,
            "Everybody gets the error store-unavailable. Other meetings are not affected",
            "It leaves the pool alone, and reports it at each sweep",
            "Find out with redis-cli who wrote to the key that the reason names, and delete it. "
            "The pool is then recovered from the ledger",
            "LinkpoolRedisAway",
        )
    if status.meeting.closed_reason:
        return Explanation(
            why,
            f"New visitors get the error pool-paused with this reason{fallback}. {_SAME}",
            "It reads the provider's list about once a minute. Once the meeting is enabled there, "
            "links made before are retired and new ones made",
            "Enable the meeting at the provider, then use Try the provider now",
            "LinkpoolMeetingBlocked",
        )
    are = "is" if status.fresh == 1 else "are"
    left = f"Nothing yet: {count_words(status.fresh, 'link')} {are} left"
    return Explanation(
        why,
        f"{left if status.fresh else f'New visitors get no link{fallback}'}. {_SAME}",
        "It asks the provider again about once a minute, and tops up as soon as it may",
        "Mend the cause at the provider, then use Try the provider now",
        "LinkpoolMeetingBlocked",
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _advice(status: MeetingStatus) -> str:
    rate = status.claims_per_second
    if status.meeting.is_capped(rate):
        return _raise_the_cap(status.meeting, rate)
    return "Nothing, if it rises. If it falls further, raise the minimum of links kept ready"


def _advice_if_empty(status: MeetingStatus) -> str:
    rate = status.claims_per_second
    if status.meeting.is_capped(rate):
        more = "If the provider makes fewer links than are claimed, ask it for a higher limit"
        return f"{_raise_the_cap(status.meeting, rate)}. {more}"
    return "Raise the minimum of links kept ready, or ask the provider for a higher limit"


def _raise_the_cap(meeting: Meeting, rate: float) -> str:
    needs = about(meeting.wanted(rate))
    return f"Set the maximum of links kept ready to {needs:,} or more"


def standing_of(status: MeetingStatus, incidents: tuple[Incident, ...] | None) -> Incident | None:
    """Return the lasting incident that explains a pool's state, or None. It dates the state."""
    kinds = {
        "paused": (What.PAUSE,),
        "blocked": (What.BLOCKED,),
        "recovering": (What.FENCE, What.REDIS),
        "empty": (What.DRY, What.PROVIDER, What.WORKER, What.BLOCKED),
        "low": (What.PROVIDER, What.WORKER),
    }.get(status.state, ())
    for each in incidents or ():
        if each.ended_at is None and each.what in kinds and each.concerns(status.meeting.sid):
            return each
    return None
