"""Render the changing parts of a workspace's page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pool.api.ops.frame.rendering import fragment
from pool.api.ops.live.boards import Board, seen
from pool.api.ops.session.sessions import Session
from pool.model.incidents import What
from pool.model.times import from_ms
from pool.operations.selection import Selected, Selection, select
from pool.operations.snapshot import Snapshot
from pool.operations.tiles import answered_seconds


def workspace_board(
    snapshot: Snapshot, frame: Board, session: Session, selection: Selection
) -> Board:
    """Return the board of the selection's workspace at this moment, on its viewer's frame."""
    parts = frame.parts | parts_of(snapshot, session, selection)
    return replace(frame, parts=parts)


def parts_of(snapshot: Snapshot, session: Session, selection: Selection) -> dict[str, str]:
    """Return the changing parts of the page of the selection's workspace."""
    workspace = selection.workspace
    health = next((each for each in snapshot.workspaces if each.name == workspace), None)
    block = health.block if health else None
    troubles = snapshot.vitals.troubles if snapshot.vitals else ()
    values: dict[str, Any] = {
        "health": health,
        "block": block,
        "since": from_ms(block.since_ms) if block else None,
        "again": from_ms(block.probe_at_ms) if block else None,
        "is_due": block is not None and from_ms(block.probe_at_ms) <= datetime.now(UTC),
        "silent": any((each.what, each.about) == (What.PROVIDER, workspace) for each in troubles),
        "answered_seconds": answered_seconds(snapshot, workspace),
        "known": not snapshot.store_problem,
        "snapshot": snapshot,
        "place": f"/ops/workspaces/{workspace}",
        "selected": _selected(snapshot, session, selection),
    }
    own = {f"workspace-{name}": f"workspace/{name}.html" for name in ("state", "pools")}
    shared = {name: f"overview/{name}.html" for name in ("filters", "pages")}
    return {name: fragment(template, **values) for name, template in (own | shared).items()}


def _selected(snapshot: Snapshot, session: Session, selection: Selection) -> Selected:
    """Return the pools of the workspace that are shown. The page's address names it already."""
    mine = [
        each for each in seen(snapshot, session) if each.meeting.workspace == selection.workspace
    ]
    return select(replace(selection, workspace=""), mine)
