"""Test the search by keyboard, and the choices of a viewer that the page remembers."""

from __future__ import annotations

import pytest
from fastapi import Request, Response

from pool.access.api_keys import Caller, Scope
from pool.api.ops.frame.navigation import PLACES, address_again, places_for
from pool.api.ops.frame.themes import THEMES, keep_theme, theme_of
from pool.api.ops.live.boards import of_workspace
from pool.api.ops.pages.palette import matching
from pool.api.ops.session.sessions import Session
from pool.model.meetings import Meeting
from pool.operations import selection
from pool.operations.selection import Selection, select
from pool.operations.snapshot import WorkspaceHealth
from tests.unit.test_ops_pages import snapshot, status

KNOWN = [Meeting(sid) for sid in ("a-demo", "demo", "demo-2", "zx81", "other")]
NAMES = {"zx81": "Demo for partners", "other": "The long demo"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("demo", ["demo", "demo-2", "zx81", "a-demo", "other"]),
        (" DEMO-2 ", ["demo-2"]),
        ("partners", ["zx81"]),
        ("nothing", []),
    ],
)
def test_meetings_are_found_by_sid_and_name(text: str, found: list[str]) -> None:
    """The SID itself comes first, then beginnings, then matches in the middle."""
    assert [each.sid for each in matching(text, KNOWN, NAMES)] == found


def test_every_place_has_a_letter_of_its_own() -> None:
    """A key that opens one page opens no other."""
    letters = [place.key for place in PLACES]
    assert len(set(letters)) == len(letters)
    assert all(len(letter) == 1 and letter.islower() for letter in letters)


# -- the theme -------------------------------------------------------------------------


def asked(cookies: str = "") -> Request:
    """Return a request with these cookies."""
    head = [(b"cookie", cookies.encode()), (b"host", b"ops.test")]
    return Request(
        {"type": "http", "scheme": "http", "path": "/ops", "headers": head, "query_string": b""}
    )


def test_a_chosen_theme_comes_back() -> None:
    """A cookie keeps it, so that the first frame is drawn in it; `system` needs none."""
    for theme in THEMES:
        response = Response()
        keep_theme(asked(), response, theme)
        kept = response.headers["set-cookie"].partition(";")[0]
        assert theme_of(asked(kept)) == theme


@pytest.mark.parametrize("cookie", ["", "linkpool_ops_theme=pink", 'linkpool_ops_theme="><script>'])
def test_any_other_theme_is_the_systems(cookie: str) -> None:
    """Cookies can be edited; nothing of them enters the page."""
    assert theme_of(asked(cookie)) == "system"


@pytest.mark.parametrize(
    ("method", "path", "query", "again"),
    [
        ("GET", "/ops/history", b"span=10min", "/ops/history?span=10min"),
        ("POST", "/ops/several", b"", "/ops"),
        ("POST", "/ops/inbox/7/show-booker", b"", "/ops/inbox"),
    ],
)
def test_a_choice_leads_back_to_a_page_that_is_there(
    method: str, path: str, query: bytes, again: str
) -> None:
    """A page that answered a form has no such address, so the choice leads to the page before."""
    scope = {"type": "http", "method": method, "scheme": "http", "path": path}
    request = Request(scope | {"headers": [(b"host", b"ops.test")], "query_string": query})
    session = Session(Caller("k", frozenset({Scope.READ}), None), "")
    assert address_again(request, places_for(session, path)) == again


# -- workspaces ------------------------------------------------------------------------


def test_a_workspace_is_looked_at_alone() -> None:
    """Its pools and filters; the counts of the others lead there."""
    pools = [
        status("a", meeting=Meeting("a", "east")),
        status("b", "low", meeting=Meeting("b", "west")),
        status("c", meeting=Meeting("c", "west")),
    ]
    found = select(Selection(workspace="west"), pools)
    assert [each.meeting.sid for each in found.rows] == ["b", "c"]
    assert {each.label: each.count for each in found.filters} == {
        "All": 2, "Needs attention": 1, "low": 1, "ok": 1,
    }  # fmt: skip
    assert [(each.label, each.count, each.chosen) for each in found.workspaces] == [
        ("All workspaces", 3, False), ("east", 1, False), ("west", 2, True),
    ]  # fmt: skip
    west = Selection.of({"workspace": "west"})
    assert west.address() == "/ops?workspace=west"
    assert [each.meeting.sid for each in selection.matching(west, pools)] == ["b", "c"], (
        "what is done to all that match is done to no more than is shown"
    )


def test_one_workspace_is_no_choice() -> None:
    """It is offered only if the address names one that does not exist."""
    pools = [status("a"), status("b")]
    assert select(Selection(), pools).workspaces == ()
    lost = select(Selection(workspace="gone"), pools)
    assert lost.rows == ()
    assert [(each.label, each.count) for each in lost.workspaces] == [
        ("All workspaces", 2), ("default", 2), ("gone", 0),
    ]  # fmt: skip


def test_a_workspaces_trouble_is_shown_for_it_alone() -> None:
    """Another workspace's block and pools are not its own."""
    both = (WorkspaceHealth("east", 1.0, None), WorkspaceHealth("west", 2.0, None))
    pools = [status("a", meeting=Meeting("a", "east")), status("b", meeting=Meeting("b", "west"))]
    reading, mine = of_workspace(snapshot(workspaces=both), pools, "west")
    assert reading.workspaces == both[1:]
    assert [each.meeting.sid for each in mine] == ["b"]
