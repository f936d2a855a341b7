"""Test that a view which waits for a silent part holds up nothing that all views show."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pool.access.api_keys import Caller
from pool.api.ops.live import watched
from pool.api.ops.live.boards import Board, frame_of
from pool.api.ops.live.watched import WatchedView
from pool.api.ops.session.sessions import Session
from pool.errors import StoreUnavailable
from pool.model.incidents import What
from pool.operations import trends
from pool.operations.selection import Selection
from pool.operations.snapshot import LedgerHealth, Snapshot
from pool.operations.vitals import Trouble, Vitals

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WELL = Snapshot(NOW, 2.0, LedgerHealth(), vitals=Vitals(NOW))
SILENT = replace(
    WELL,
    vitals=Vitals(NOW, (Trouble(What.REDIS, "", NOW, "Redis does not answer"),)),
    store_problem="Redis does not answer",
)
SESSION = Session(Caller("lp_test", frozenset({"read"}), frozenset({"shown"})), "token")


class Boards:
    """Draws an overview of one pool, as slowly or badly as the test wants."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.problem: Exception | None = None

    def frame(self, snapshot: Snapshot, session: Session) -> Board:
        return frame_of(snapshot, session)

    async def board(self, snapshot: Snapshot, selection: Selection, session: Session) -> Board:
        await self.answers.wait()
        if self.problem:
            raise self.problem
        frame = frame_of(snapshot, session)
        lead = f"drawn at {snapshot.at.second}"
        return replace(frame, parts=frame.parts | {"lead": lead}, rows={"shown": "<tr>1"})


class Ops:
    """The one part of the page that an overview needs."""

    def __init__(self) -> None:
        self.boards = Boards()


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(watched, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(watched, "IN_TROUBLE_SECONDS", 0.01)
    return Ops()


def later(snapshot: Snapshot, seconds: int) -> Snapshot:
    return replace(snapshot, at=NOW.replace(second=seconds))


def told(news: bytes) -> dict[str, Any]:
    """Return what an event says, without its label."""
    found: dict[str, Any] = json.loads(news.partition(b"data: ")[2])
    return found


async def test_a_view_that_waits_still_says_what_is_silent(ops: Any) -> None:
    """Its pools stay on the page, marked as outdated; once it is drawn it is shown."""
    view = WatchedView(ops, "view=pools", b"id: 3\n")
    first = await view.news(WELL, SESSION)
    assert first.startswith(b"id: 3\ndata: {")
    assert first.endswith(b"}\n\n")
    assert told(first)["order"] == ["shown"]
    ops.boards.answers.clear()
    news = told(await view.news(later(SILENT, 1), SESSION))
    assert (news["silent"], news["stale"]) == (["redis"], True)
    assert "Redis does not answer" in news["parts"]["banner"]
    assert (news["order"], news["rows"]) == (["shown"], {})
    ops.boards.answers.set()
    assert told(await view.news(later(WELL, 2), SESSION))["parts"]["lead"] == "drawn at 1"
    assert told(await view.news(later(WELL, 3), SESSION))["parts"]["lead"] == "drawn at 3"
    await view.close()


async def test_what_was_drawn_before_redis_went_silent_is_not_shown_after(ops: Any) -> None:
    """A drawing that took its time claims nothing of pools that nobody knows now."""
    view = WatchedView(ops, "view=pools")
    await view.news(WELL, SESSION)
    ops.boards.answers.clear()
    await view.news(later(WELL, 1), SESSION)
    ops.boards.answers.set()
    news = told(await view.news(later(SILENT, 2), SESSION))
    assert "lead" not in news["parts"]
    assert news["stale"]
    await view.close()


async def test_a_view_that_was_never_drawn_says_nothing_yet(ops: Any) -> None:
    """The parts that every view shows cannot stand in for rows that the page may have."""
    ops.boards.answers.clear()
    view = WatchedView(ops, "view=pools")
    assert await view.news(WELL, SESSION) == b""
    await view.close()


async def test_a_view_that_cannot_be_drawn_is_kept(ops: Any) -> None:
    """An error of one part ends no stream."""
    view = WatchedView(ops, "view=pools")
    await view.news(WELL, SESSION)
    ops.boards.problem = StoreUnavailable("it is away")
    assert told(await view.news(later(WELL, 1), SESSION))["order"] == ["shown"]
    await view.close()


async def test_a_refused_view_ends_no_other(ops: Any) -> None:
    """A key of some meetings gets one refusal, and no news of other meetings."""
    refused = WatchedView(ops, "view=meeting&sid=hidden", b"id: 1\n")
    assert await refused.news(WELL, SESSION) == b"id: 1\nevent: refused\ndata:\n\n"
    assert await refused.news(later(WELL, 1), SESSION) == b""
    assert await WatchedView(ops, "view=pools").news(WELL, SESSION)


async def test_a_page_that_nobody_sees_gets_its_title_and_no_drawing(ops: Any) -> None:
    """It gets it at once when a part falls silent or returns, and otherwise at every second
    moment.
    """
    ops.boards.board = None  # nothing may be drawn
    glance = watched.watched(ops, "view=quiet", b"id: 0\n")
    first = await glance.news(WELL, SESSION)
    assert first.startswith(b"id: 0\ndata: {")
    assert told(first)["quiet"]
    assert told(first)["alarm"]["words"] == ""
    assert not {"parts", "rows", "order"} & told(first).keys()
    assert await glance.news(later(WELL, 1), SESSION) == b""
    assert told(await glance.news(later(WELL, 2), SESSION))["silent"] == []
    silent = told(await glance.news(later(SILENT, 3), SESSION))
    assert (silent["silent"], silent["stale"]) == (["redis"], True)
    assert silent["alarm"]["level"] == "bad"
    assert told(await glance.news(later(WELL, 4), SESSION))["alarm"]["words"] == ""
    assert await glance.news(later(WELL, 5), SESSION) == b""
    await glance.close()


async def test_sparklines_wait_for_a_silent_redis_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All views of a process wait for the one that is drawn."""

    asked = []

    async def never(*_: Any, **__: Any) -> None:
        asked.append(1)
        await asyncio.Event().wait()

    monkeypatch.setattr(trends, "_PATIENCE_SECONDS", 0.01)
    silent = SimpleNamespace(sparks=never, past=never)
    store: Any = SimpleNamespace(history=silent, tallies=silent)
    found = trends.Trends(store, clock=lambda: 100.0)
    assert (await found.of(["shown"]))["shown"].claims_per_second == ()
    assert await found.visitors(["shown"]) == {"shown": None}
    assert await found.last_hour(None) is None
    assert len(asked) == 1, "it was silent a moment ago"
