"""Render the changing parts of the history page, for all pages that show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pool.api.ops.charts.compose import charts
from pool.api.ops.charts.earlier import Before, Earlier
from pool.api.ops.charts.windows import Window
from pool.api.ops.frame.rendering import fragment
from pool.api.ops.live.boards import Board
from pool.api.ops.live.drawings import Drawings
from pool.api.ops.live.latest_incidents import visible
from pool.api.ops.live.pasts import Past, Pasts
from pool.api.ops.live.unhurried import Unhurried
from pool.api.ops.session.sessions import Session
from pool.model.incidents import Incident, together
from pool.model.outcomes import EVERYWHERE


class HistoryBoards:
    """The boards of the past of all pools together."""

    def __init__(self, pasts: Pasts) -> None:
        self.unhurried = Unhurried(pasts)
        self._drawings: Drawings[dict[str, str]] = Drawings()

    async def board(
        self, frame: Board, session: Session, window: Window, compared: tuple[Earlier, ...] = ()
    ) -> Board:
        """Return the board of this window, on the frame that its viewer sees."""
        past, before = await self.unhurried.of(EVERYWHERE, window, compared)
        if past is None:
            return frame  # the page keeps what it has
        parts = self.parts(past, window, before, session, frame.snapshot.at)
        return replace(frame, parts=frame.parts | parts)

    def parts(
        self, past: Past, window: Window, before: Sequence[Before], session: Session, now: datetime
    ) -> dict[str, str]:
        """Return the changing parts of the page, drawn again only when there is something new.

        Of charts, a key of some meetings sees none.
        """
        meetings = session.caller.meetings

        def draw() -> dict[str, str]:
            parts = incidents_part(past.incidents, session, now)
            if meetings is None:
                found = charts(
                    past.series,
                    window,
                    counted=past.counted,
                    incidents=_seen(past.incidents, session),
                    levels=False,
                    before=before,
                )
                parts["charts"] = fragment("history/charts.html", charts=found)
            return parts

        return self._drawings.of(meetings, window, past, before, draw)


def incidents_part(
    incidents: Sequence[Incident] | None, session: Session, now: datetime
) -> dict[str, str]:
    """Return the part of the page that lists incidents; none while they are not known."""
    if incidents is None:
        return {}
    found = _seen(incidents, session)
    return {"incidents": fragment("history/incidents.html", incidents=found, now=now)}


def _seen(incidents: Sequence[Incident] | None, session: Session) -> list[Incident]:
    """Return what this viewer may see, what a person did to a thousand pools as one of them."""
    return together(visible(list(incidents or ()), session))
