"""Say in words what a meeting's settings mean at its present claim rate, and what would be better.

No I/O: everything follows from the settings, the rate, the stock and the forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pool.model.durations import exact_words
from pool.model.meetings import LEAD_SECONDS, Meeting
from pool.operations.status import MeetingStatus
from pool.operations.words import about, count_words, duration_words, rate_words

_STILL = 1e-6  # claims per second; below, nobody claims
_WORTH = 1.2  # a suggestion closer to the present target than this is noise


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of one setting now; `bad` if it is too small or too large for this rate."""

    words: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings that would fit better: in words, the reason, and as fields of the form."""

    title: str
    why: str
    changes: dict[str, str]
    reason: str  # for the audit, unless a person writes another


def claims_words(per_second: float) -> str:
    """Return a rate of claims in words: 0.6 claims/s, 3.0 claims/min."""
    return rate_words(per_second).replace("/", " claims/")


def meanings(meeting: Meeting, claims_per_second: float, fresh: int) -> list[Meaning]:
    """Return what these settings mean at this rate, the most urgent first."""
    if claims_per_second < _STILL:
        said = [Meaning(f"Nobody claims now, so {_links(meeting.min_fresh)} are kept ready.")]
        if meeting.min_fresh == 0:
            said = [_no_minimum(meeting)]
    else:
        said = _at_rate(meeting, claims_per_second, fresh)
    if meeting.reserve:
        said.append(
            Meaning(
                f"Claims with a public key get a link while more than {meeting.reserve:,} are left."
            )
        )
    return sorted(said, key=lambda each: not each.bad)


def _at_rate(meeting: Meeting, rate: float, fresh: int) -> list[Meaning]:
    at = claims_words(rate)
    wanted, target = meeting.wanted(rate), meeting.target(rate)
    cover = exact_words(meeting.cover_seconds)
    kept = (
        "that many are kept ready"
        if wanted >= meeting.min_fresh
        else f"the minimum of {meeting.min_fresh:,} is more, and is kept ready"
    )
    said = [
        Meaning(
            f"At {at}, {_links(fresh)} {'lasts' if fresh == 1 else 'last'} {_lasts(fresh, rate)}."
        )
        if fresh
        else Meaning(f"The pool is empty, at {at}.", bad=True)
    ]
    if meeting.is_capped(rate):
        said.append(
            Meaning(
                f"At most {meeting.max_fresh:,} is too small: this rate needs about {wanted:,}.",
                bad=True,
            )
        )
    else:
        most = meeting.max_fresh / (meeting.cover_seconds + LEAD_SECONDS)
        said.append(Meaning(f"At most {meeting.max_fresh:,} is enough up to {claims_words(most)}."))
        said.append(Meaning(f"To last {cover}, this rate asks for {_links(wanted)}: {kept}."))
    if meeting.min_fresh == 0:
        said.append(_no_minimum(meeting))
    else:
        said.append(Meaning(f"The minimum alone lasts {_lasts(meeting.min_fresh, rate)}."))
    waits = target / rate
    if waits > meeting.max_fresh_age_seconds:
        age = exact_words(meeting.max_fresh_age_seconds)
        said.append(
            Meaning(
                f"A link waits about {duration_words(waits)} for its visitor and retires after "
                f"{age}: many are made for nothing. Lower the minimum, or let links get older.",
                bad=True,
            )
        )
    return said


def _no_minimum(meeting: Meeting) -> Meaning:
    first = (
        "waits for a link made on the spot"
        if meeting.on_empty == "direct"
        else "gets the error pool-empty"
    )
    return Meaning(f"With a minimum of 0, the first visitor after a quiet time {first}.")


def suggestions(status: MeetingStatus, now: datetime) -> list[Suggestion]:
    """Return settings that would fit this pool better, the best first; none if it is set well."""
    meeting, forecast, rate = status.meeting, status.forecast, status.claims_per_second
    needed = max(forecast.needed, meeting.wanted(rate))
    why = _why(status, now)
    if needed > meeting.max_fresh:
        most = about(needed)
        return [
            Suggestion(
                f"Allow up to {most:,} links",
                f"{why} The maximum is {meeting.max_fresh:,} now.",
                {"max_fresh": str(most)},
                f"About {needed:,} links are needed",
            )
        ]
    better = forecast.suggested_target
    if meeting.target_mode == "auto" or better < _WORTH * status.target:
        return []
    return [
        Suggestion(
            f"Keep at least {better:,} links ready",
            f"{why} {_links(status.target)} are kept ready now.",
            {"min_fresh": str(better)},
            f"The forecast suggests {better:,} links",
        ),
        Suggestion(
            "Let the number of links follow the forecast",
            "The pool then fills before its busy hours and not all day long.",
            {"target": "auto"},
            "The forecast decides how many links are kept ready",
        ),
    ]


def _why(status: MeetingStatus, now: datetime) -> str:
    forecast, meeting = status.forecast, status.meeting
    if meeting.wanted(status.claims_per_second) >= forecast.needed:
        rate = claims_words(status.claims_per_second)
        wanted = meeting.wanted(status.claims_per_second)
        return f"To last {exact_words(meeting.cover_seconds)} at {rate} takes {_links(wanted)}."
    cover = duration_words(meeting.cover_seconds + LEAD_SECONDS)
    begins = now + timedelta(seconds=forecast.busiest_in_seconds)
    when = f"from {begins:%H:%M} UTC on" if forecast.busiest_in_seconds else "from now on"
    ground = (
        "by what is usual at that hour and by the present rate"
        if forecast.has_past
        else "if the present rate goes on, since nothing is known of earlier days"
    )
    return (
        f"The forecast expects up to {forecast.needed:,} claims within {cover} {when}, in nine of "
        f"ten cases, {ground}."
    )


def _links(count: int) -> str:
    return count_words(count, "link")


def _lasts(links: int, rate: float) -> str:
    return duration_words(links / rate)
