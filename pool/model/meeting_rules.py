"""Check that the settings of a meeting agree with each other."""

from __future__ import annotations

from urllib.parse import urlsplit

from pool.errors import InvalidRequest
from pool.model.meetings import Meeting
from pool.model.pools import SHARDS_MOST

URL_CHARACTERS = 2_048


def check_meeting(meeting: Meeting) -> None:
    """Raise InvalidRequest if the settings contradict each other."""
    problems = []
    if meeting.max_fresh < max(1, meeting.min_fresh):
        problems.append(f"max_fresh: {meeting.max_fresh} is below min_fresh ({meeting.min_fresh})")
    if meeting.reserve and meeting.reserve >= meeting.min_fresh:
        problems.append(
            f"reserve: {meeting.reserve} is not below min_fresh ({meeting.min_fresh}), so that "
            "claims with a public key might never get a link"
        )
    if not 1 <= meeting.shards <= SHARDS_MOST:
        problems.append(f"shards: {meeting.shards} is not between 1 and {SHARDS_MOST}")
    elif meeting.shards > max(1, meeting.min_fresh - meeting.reserve):
        problems.append(
            f"shards: each of {meeting.shards} needs at least one link, but only "
            f"{meeting.min_fresh - meeting.reserve} are kept ready (min_fresh, without the reserve)"
        )
    if meeting.fallback_url is not None:
        url = meeting.fallback_url
        if not _is_web_address(url):
            problems.append("fallback_url: must be an http:// or https:// address")
    if problems:
        raise InvalidRequest("invalid meeting settings", problems)


def _is_web_address(url: str) -> bool:
    if len(url) > URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
