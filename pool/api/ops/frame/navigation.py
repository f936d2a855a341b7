"""List the places in the navigation of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from pool.api.ops.session.cookies import PATH
from pool.api.ops.session.sessions import Session


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the navigation."""

    path: str
    label: str
    key: str  # opens it after "g"
    admin: bool = False  # shown to admins of all meetings; the view refuses others itself
    also: tuple[str, ...] = ()  # paths below which this entry is the current one, too


PLACES = (
    Place(
        "/ops",
        "Pools",
        "o",
        also=("/ops/meetings", "/ops/add", "/ops/several", "/ops/workspaces", "/ops/runbooks"),
    ),
    Place("/ops/find", "Find", "f", also=("/ops/links",)),
    Place("/ops/history", "History", "h"),
    Place("/ops/inbox", "Inbox", "i"),
    Place("/ops/audit", "Audit log", "a"),
    Place("/ops/keys", "Keys", "k", admin=True),
)


@dataclass(frozen=True, slots=True)
class ShownPlace:
    """An entry as one page shows it."""

    path: str
    label: str
    key: str
    current: bool


def places_for(session: Session | None, path: str) -> list[ShownPlace]:
    """Return the entries for this session, none without a session."""
    if session is None:
        return []
    return [
        ShownPlace(place.path, place.label, place.key, _is_current(place, path))
        for place in PLACES
        if not place.admin or (session.may_do_keys and session.caller.meetings is None)
    ]


def address_again(request: Request, places: Sequence[ShownPlace]) -> str:
    """Return the address that shows this page again.

    What answers a form is not shown again by its address, so it leads to the entry it is under.
    """
    if request.method == "POST":
        return next((place.path for place in places if place.current), PATH)
    query = f"?{request.url.query}" if request.url.query else ""
    return request.url.path + query


def _is_current(place: Place, path: str) -> bool:
    if path == place.path:
        return True
    below = place.also if place.path == "/ops" else (place.path, *place.also)
    return any(path.startswith(f"{each}/") or path == each for each in below)
