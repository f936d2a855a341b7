"""Keep what the providers list, so that the page can offer meetings to be added."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from pool.api.service import Service
from pool.errors import ProviderError
from pool.providers import ProviderMeeting
from pool.store.ending import end_tasks

KEPT_SECONDS = 60.0  # the provider is asked once a minute at most, however often the page is shown
_TURN_SECONDS = 2.0
_NAMES_KEPT_SECONDS = 600.0


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
        self._names_at = -_NAMES_KEPT_SECONDS
        self._asking: asyncio.Task[list[Offer]] | None = None

    async def offers(self, service: Service) -> list[Offer]:
        """Return what can be added, by workspace."""
        known = {meeting.sid for meeting in service.known_meetings.all()}
        return [await self._offer(service, name, known) for name in service.settings.workspaces]

    def names(self, service: Service) -> dict[str, str]:
        """Return what the providers call the meetings, as far as it is known, without a wait.

        Now and then the lists are read again behind this answer, for the next one.
        """
        if time.monotonic() - self._names_at >= _NAMES_KEPT_SECONDS:
            self._names_at = time.monotonic()
            self._asking = asyncio.create_task(self.offers(service))
        return {each.sid: each.name for _, listed in self._kept.values() for each in listed}

    async def close(self) -> None:
        """End the questions to the providers that nobody waits for."""
        if self._asking is not None:
            await end_tasks([self._asking])

    async def _offer(self, service: Service, name: str, known: set[str]) -> Offer:
        kept = self._kept.get(name)
        if kept is None or time.monotonic() - kept[0] > KEPT_SECONDS:
            maker = service.parts.makers[name]
            if not await maker.wait_turn(within_seconds=_TURN_SECONDS):
                return Offer(name, (), "the request budget is used up; try again in a few seconds")
            try:
                listed = await service.parts.providers[name].meetings()
            except ProviderError as error:
                return Offer(name, (), str(error))
            kept = self._kept[name] = time.monotonic(), listed
        listed = sorted(kept[1], key=lambda each: each.name.casefold())
        return Offer(name, tuple(each for each in listed if each.sid not in known))
