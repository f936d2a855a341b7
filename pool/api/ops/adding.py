"""Add a meeting from the page, by choosing from the provider's list."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.acting import outcome
from pool.api.ops.forms import Posted
from pool.api.ops.rendering import render
from pool.api.ops.routing import views
from pool.api.ops.sessions import SignedIn
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.errors import InvalidRequest, ProviderError
from pool.model.links import is_sid
from pool.nudges import TOP_UP
from pool.providers import ProviderMeeting

router = views()

KEPT_SECONDS = 60.0  # the provider is asked once a minute at most, however often the page is shown
_TURN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Offer:
    """List a provider's meetings that have no pool yet."""

    workspace: str
    meetings: tuple[ProviderMeeting, ...]
    problem: str = ""


class Lists:
    """The providers' lists of meetings, each as this process last read it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, list[ProviderMeeting]]] = {}

    async def offers(self, service: Service) -> list[Offer]:
        """Return what can be added, by workspace."""
        known = {meeting.sid for meeting in service.known_meetings.all()}
        return [await self._offer(service, name, known) for name in service.settings.workspaces]

    async def _offer(self, service: Service, name: str, known: set[str]) -> Offer:
        kept = self._kept.get(name)
        if kept is None or time.monotonic() - kept[0] > KEPT_SECONDS:
            maker = service.parts.makers[name]
            if not await maker.wait_turn(within_seconds=_TURN_SECONDS):
                return Offer(name, (), "the request budget allows no question now; try again soon")
            try:
                listed = await service.parts.providers[name].meetings()
            except ProviderError as error:
                return Offer(name, (), str(error))
            kept = self._kept[name] = time.monotonic(), listed
        listed = sorted(kept[1], key=lambda each: each.name.casefold())
        return Offer(name, tuple(each for each in listed if each.sid not in known))


_lists = Lists()


@router.get("/ops/add")
async def choose(request: Request, session: SignedIn, service: TheService) -> Response:
    """Show the meetings that the providers list and that have no pool yet."""
    session.caller.check_everywhere(Scope.ADMIN)
    return render(
        request,
        "add.html",
        session,
        title="Add a meeting",
        offers=await _lists.offers(service),
        several=len(service.settings.workspaces) > 1,
        workspaces=list(service.settings.workspaces),
    )


@router.post("/ops/add")
async def add(request: Request, action: Posted, service: TheService) -> Response:
    """Make a pool for a meeting, and have it filled."""
    action.caller.check_everywhere(Scope.ADMIN)
    sid = action.form.fields.get("sid", "").strip()
    place = f"/ops/meetings/{sid}" if is_sid(sid) else "/ops/add"

    async def work() -> str:
        if not is_sid(sid):
            raise InvalidRequest("a meeting's SID is 1 to 64 letters, digits, - and _")
        if service.known_meetings.get(sid) is not None:
            raise InvalidRequest(f"{sid} has a pool already")
        workspace = action.form.text("workspace", label="Workspace", required=True)
        found, _ = await service.administration.put(
            sid,
            {"workspace": workspace},
            action.caller.key_id,
            reason=action.form.text("reason", label="Reason"),
        )
        service.known_meetings.put(found)
        service.nudges.send(TOP_UP, workspace=workspace)
        return "Added. Its first links are being made; if the provider refuses, it says so here."

    return await outcome(request, place, work(), action.form)
