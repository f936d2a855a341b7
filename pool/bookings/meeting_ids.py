"""Find a booking's meeting where the booking names it by the provider's id and not by its SID."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import structlog

from pool.errors import LinkpoolError, ProviderError
from pool.ledger import Ledger
from pool.providers import Provider

log = structlog.get_logger()

ASK_SECONDS = 300.0  # between two questions to a provider about an id that it does not list
GAP_SECONDS = 2.0  # and between any two: a meeting may be new, and its booking newer
_ASKED_MOST = 10_000  # ids whose question is remembered
_decode = msgspec.json.Decoder(dict[str, str]).decode


class MeetingIds:
    """The SIDs of meetings by the provider's ids, learned from its list and kept in the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Mapping[str, Provider],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._providers = providers
        self._clock = clock
        self._known: dict[str, dict[str, str]] = {}
        self._asked: dict[tuple[str, str], float] = {}
        self._without_ids: set[str] = set()

    async def sid_of(self, workspace: str, meeting_id: str) -> str | None:
        """Return the SID of the meeting with this id, or None if the provider cannot name it now.

        The provider is asked only about new ids, and seldom.
        """
        if meeting_id not in self._known.get(workspace, {}):
            kept = await self._ledger.facts.get(_fact(workspace))
            self._known[workspace] = _decode(kept) if kept else {}
        if meeting_id not in self._known[workspace] and self._may_ask(workspace, meeting_id):
            await self._learn(workspace)
        return self._known[workspace].get(meeting_id)

    def gives_none(self, workspace: str) -> bool:
        """Return True if the provider lists its meetings without ids."""
        return workspace in self._without_ids

    def _may_ask(self, workspace: str, meeting_id: str) -> bool:
        now = self._clock()
        for about, seconds in (
            ((workspace, meeting_id), ASK_SECONDS),
            ((workspace, ""), GAP_SECONDS),
        ):
            if now < self._asked.get(about, -seconds) + seconds:
                return False
        if len(self._asked) >= _ASKED_MOST:
            self._asked.clear()
        self._asked[workspace, meeting_id] = self._asked[workspace, ""] = now
        return workspace in self._providers

    async def _learn(self, workspace: str) -> None:
        try:
            listed = await self._providers[workspace].meetings()
        except ProviderError as error:
            log.warning("meetings not listed", workspace=workspace, reason=str(error))
            return
        if listed and not any(each.id for each in listed):
            self._without_ids.add(workspace)
        # What was learned stays: bookings of a deleted meeting still name it.
        self._known[workspace] |= {each.id: each.sid for each in listed if each.id is not None}
        try:
            text = msgspec.json.encode(self._known[workspace]).decode()
            await self._ledger.facts.put(_fact(workspace), text)
        except LinkpoolError as error:
            log.warning("meetings' ids not kept", workspace=workspace, reason=str(error))


def _fact(workspace: str) -> str:
    return f"meeting-ids:{workspace}"
