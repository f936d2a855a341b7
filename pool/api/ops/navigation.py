"""List the places in the navigation of the page."""

from __future__ import annotations

from dataclasses import dataclass

from pool.api.ops.sessions import Session


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the navigation."""

    path: str
    label: str
    admin: bool = False  # shown to admins of all meetings; the view refuses others itself
    also: tuple[str, ...] = ()  # paths below which this entry is the current one, too


PLACES = (
    Place(
        "/ops",
        "Pools",
        also=("/ops/meetings", "/ops/add", "/ops/several", "/ops/workspaces", "/ops/runbooks"),
    ),
    Place("/ops/find", "Find", also=("/ops/links",)),
    Place("/ops/history", "History"),
    Place("/ops/inbox", "Inbox"),
    Place("/ops/audit", "Audit log"),
    Place("/ops/keys", "Keys", admin=True),
)


@dataclass(frozen=True, slots=True)
class ShownPlace:
    """An entry as one page shows it."""

    path: str
    label: str
    current: bool


def places_for(session: Session | None, path: str) -> list[ShownPlace]:
    """Return the entries for this session, none without a session."""
    if session is None:
        return []
    return [
        ShownPlace(place.path, place.label, _is_current(place, path))
        for place in PLACES
        if not place.admin or (session.may_do_keys and session.caller.meetings is None)
    ]


def _is_current(place: Place, path: str) -> bool:
    if path == place.path:
        return True
    below = place.also if place.path == "/ops" else (place.path, *place.also)
    return any(path.startswith(f"{each}/") or path == each for each in below)
