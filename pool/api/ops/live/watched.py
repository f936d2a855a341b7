"""Follow one view for one browser: what it shows, and what it needs to show the present."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

import structlog
from starlette.datastructures import QueryParams

from pool.access.api_keys import Scope
from pool.api.ops.charts.earlier import chosen
from pool.api.ops.charts.windows import BY_NAME, DEFAULT
from pool.api.ops.live.boards import Board, Boards
from pool.api.ops.live.history_boards import HistoryBoards
from pool.api.ops.live.inbox_boards import InboxBoards
from pool.api.ops.live.meeting_boards import MeetingBoards
from pool.api.ops.live.workspace_boards import workspace_board
from pool.api.ops.session.sessions import Session
from pool.errors import Forbidden, LinkpoolError
from pool.operations.inbox_selection import InboxSelection
from pool.operations.selection import Selection
from pool.operations.snapshot import Snapshot
from pool.store.ending import end_tasks

log = structlog.get_logger()

# How long a view is waited for, so that it holds up no other, nor what all views show. Once a part
# is silent it may be the one that a view asks, so it is waited for hardly at all.
PATIENCE_SECONDS = 0.2
IN_TROUBLE_SECONDS = 0.05
# Now and then a page without a list gets all its parts again, whatever has become of it.
WHOLE_EVERY = 10


class Drawing(Protocol):
    """The boards on which this process draws its views."""

    @property
    def boards(self) -> Boards:
        """Draws the overview, and what every view shows."""

    @property
    def meeting_boards(self) -> MeetingBoards:
        """Draws meetings."""

    @property
    def history_boards(self) -> HistoryBoards:
        """Draws the past of all pools together."""

    @property
    def inbox_boards(self) -> InboxBoards:
        """Draws the inbox."""


QUIET = "view=quiet"  # instead of the view of a page that nobody sees
GLANCE_EVERY = 2  # moments, where nothing has changed


class Watched(Protocol):
    """One thing that a browser shows and that a stream keeps up to date."""

    async def news(self, snapshot: Snapshot, session: Session) -> bytes:
        """Return the event that shows this moment in the browser; empty if nothing is new."""

    async def close(self) -> None:
        """End what is being made."""


def watched(ops: Drawing, query: str, label: bytes = b"") -> Watched:
    """Return what follows the view that `query` says. `label` begins its events."""
    return Glance(ops, label) if query == QUIET else WatchedView(ops, query, label)


class Glance:
    """The titles and icons of pages that nobody sees. They cost no drawing and few messages."""

    def __init__(self, ops: Drawing, label: bytes = b"") -> None:
        self._ops = ops
        self._label = label
        self._said: object = None
        self._moments = 0

    async def news(self, snapshot: Snapshot, session: Session) -> bytes:
        """Return the event that brings titles to this moment; empty if there is none."""
        frame = self._ops.boards.frame(snapshot, session)
        say = (frame.alarm, frame.silent, frame.is_stale)
        self._moments += 1
        if say == self._said and self._moments < GLANCE_EVERY:
            return b""
        self._said, self._moments = say, 0
        return self._label + b"data: " + frame.glance() + b"\n\n"

    async def close(self) -> None:
        """Do nothing: a glance is made at once."""


class WatchedView:
    """One view that a browser shows. `query` says which; `label` begins its events."""

    def __init__(self, ops: Drawing, query: str, label: bytes = b"") -> None:
        self._ops = ops
        self._query = query
        self._label = label
        self._shown: Board | None = None
        self._sent = 0
        self._refused = False
        self._making: asyncio.Task[Board] | None = None

    async def news(self, snapshot: Snapshot, session: Session) -> bytes:
        """Return the event that brings this view to this moment; empty if there is none."""
        if self._refused:
            return b""
        try:
            board = await self._board(snapshot, session)
        except Forbidden:
            self._refused = True
            return self._label + b"event: refused\ndata:\n\n"
        if board is None:
            return b""
        whole = not board.rows and self._sent % WHOLE_EVERY == 0
        message = board.message_after(None if whole else self._shown)
        self._shown, self._sent = board, self._sent + 1
        return self._label + b"data: " + message + b"\n\n"

    async def close(self) -> None:
        """End what is being made."""
        if self._making is not None:
            await end_tasks([self._making])

    async def _board(self, snapshot: Snapshot, session: Session) -> Board | None:
        """Return the view at this moment, or as it was with what all views show at this moment."""
        if self._making is None:
            self._making = asyncio.create_task(board_of(self._ops, self._query, snapshot, session))
        troubled = snapshot.vitals is not None and snapshot.vitals.troubles
        patience = IN_TROUBLE_SECONDS if troubled else PATIENCE_SECONDS
        await asyncio.wait({self._making}, timeout=patience)
        frame = self._ops.boards.frame(snapshot, session)
        if not self._making.done():
            return self._shown and _moved(self._shown, frame)
        making, self._making = self._making, None
        try:
            board = making.result()
        except Forbidden:
            raise
        except LinkpoolError as error:
            log.warning("view not drawn", reason=str(error))
            return self._shown and _moved(self._shown, frame)
        if board.snapshot is snapshot:
            return board
        # It took its time. What was read before Redis went silent is not shown any more.
        outdated = bool(snapshot.store_problem) and not board.snapshot.store_problem
        return self._shown and _moved(self._shown, frame) if outdated else _moved(board, frame)


async def board_of(ops: Drawing, query: str, snapshot: Snapshot, session: Session) -> Board:
    """Return a view at this moment. Raise Forbidden if the session may not see it."""
    asked = QueryParams(query)
    match asked.get("view", ""):
        case "pools":
            return await ops.boards.board(snapshot, Selection.of(asked), session)
        case "meeting":
            sid = asked.get("sid", "")
            session.caller.check(Scope.READ, sid)
            window = BY_NAME.get(asked.get("span", ""), DEFAULT)
            frame = ops.boards.frame(snapshot, session)
            compared = chosen(asked.get("compare", ""))
            return await ops.meeting_boards.board(snapshot, frame, sid, window, compared)
        case "history":
            window = BY_NAME.get(asked.get("span", ""), DEFAULT)
            frame = ops.boards.frame(snapshot, session)
            compared = chosen(asked.get("compare", ""))
            return await ops.history_boards.board(frame, session, window, compared)
        case "inbox":
            selection = InboxSelection.of(query)
            frame = ops.boards.frame(snapshot, session)
            return await ops.inbox_boards.board(snapshot, frame, selection, session)
        case "workspace":
            frame = ops.boards.frame(snapshot, session)
            return workspace_board(snapshot, frame, session, Selection.of(asked))
        case _:
            return ops.boards.frame(snapshot, session)


def _moved(board: Board, frame: Board) -> Board:
    """Return a board at a later moment: the same, but for what all views show."""
    return replace(
        board,
        snapshot=frame.snapshot,
        alarm=frame.alarm,
        parts=board.parts | frame.parts,
    )
