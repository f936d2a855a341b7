"""Select the pools that an overview shows: searched, filtered by state, a page at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from pool.operations.status import URGENCY, MeetingStatus

PAGE_ROWS = 50
ATTENTION = "attention"  # every state that is neither ok nor wanted by an operator
_CALM = ("ok", "paused")
_TEXT_MAX_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Selection:
    """A viewer's choice. It is part of the address, so it can be bookmarked and shared."""

    text: str = ""
    state: str = ""
    page: int = 1
    workspace: str = ""  # empty: all

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Selection:
        """Return the selection in an address's query, ignoring invalid values."""
        state = query.get("state", "")
        page = query.get("page", "")
        return cls(
            query.get("q", "").strip()[:_TEXT_MAX_CHARACTERS],
            state if state in URGENCY or state == ATTENTION else "",
            max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
            query.get("workspace", "").strip()[:_TEXT_MAX_CHARACTERS],
        )

    def address(self, path: str = "/ops", *, view: str = "", **changes: Any) -> str:
        """Return the address of this selection, with the given changes."""
        wanted = replace(self, **changes)
        query = {
            "view": view,
            "workspace": wanted.workspace,
            "q": wanted.text,
            "state": wanted.state,
            "page": wanted.page,
        }
        kept = {name: value for name, value in query.items() if value and value != 1}
        return f"{path}?{urlencode(kept)}" if kept else path


@dataclass(frozen=True, slots=True)
class Filter:
    """A state to choose, with the number of pools in it."""

    state: str
    label: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Selected:
    """The rows of one page, with counts and filters."""

    rows: tuple[MeetingStatus, ...]
    selection: Selection  # with the page that is actually shown
    pages: int
    first: int  # number of the first row shown, counted from 1
    matching: int
    total: int
    filters: tuple[Filter, ...]
    workspaces: tuple[Filter, ...]  # empty if there is only one


def select(selection: Selection, found: Sequence[MeetingStatus]) -> Selected:
    """Return the part of `found` that a selection shows, in the same order."""
    matched = matching(selection, found)
    pages = max(1, -(-len(matched) // PAGE_ROWS))
    shown = replace(selection, page=min(selection.page, pages))
    start = (shown.page - 1) * PAGE_ROWS
    return Selected(
        rows=tuple(matched[start : start + PAGE_ROWS]),
        selection=shown,
        pages=pages,
        first=start + 1,
        matching=len(matched),
        total=len(found),
        filters=_filters(selection.state, _named(selection, found)),
        workspaces=_workspaces(selection.workspace, found),
    )


def matching(selection: Selection, found: Sequence[MeetingStatus]) -> list[MeetingStatus]:
    """Return all that a selection matches, on whatever page."""
    return [each for each in _named(selection, found) if _has_state(each, selection.state)]


def _named(selection: Selection, found: Sequence[MeetingStatus]) -> Sequence[MeetingStatus]:
    text, workspace = selection.text.casefold(), selection.workspace
    return [
        each
        for each in found
        if text in each.meeting.sid.casefold() and workspace in ("", each.meeting.workspace)
    ]


def _has_state(status: MeetingStatus, state: str) -> bool:
    if state == ATTENTION:
        return status.state not in _CALM
    return not state or status.state == state


def _workspaces(chosen: str, found: Sequence[MeetingStatus]) -> tuple[Filter, ...]:
    """Return the workspaces to choose from: none where there is but one."""
    counts = Counter(each.meeting.workspace for each in found)
    if len(counts) < 2 and chosen in ("", *counts):
        return ()
    names = sorted({*counts, chosen} - {""})
    return (
        Filter("", "All workspaces", len(found), not chosen),
        *(Filter(name, name, counts[name], name == chosen) for name in names),
    )


def _filters(chosen: str, named: Sequence[MeetingStatus]) -> tuple[Filter, ...]:
    """Return the filters: all, attention, and each state that occurs or is chosen."""
    counts = Counter(each.state for each in named)
    troubled = sum(count for state, count in counts.items() if state not in _CALM)
    each_state = [
        Filter(state, state, counts[state], state == chosen)
        for state in URGENCY
        if counts[state] or state == chosen
    ]
    return (
        Filter("", "All", len(named), not chosen),
        Filter(ATTENTION, "Needs attention", troubled, chosen == ATTENTION),
        *each_state,
    )
