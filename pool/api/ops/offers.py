"""Keep what the providers list, so that the page can offer meetings to be added."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pool.api.service import Service
from pool.errors import ProviderError
from pool.providers import ProviderMeeting

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
