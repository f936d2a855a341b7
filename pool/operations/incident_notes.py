"""Write the troubles that API processes see to the ledger, as incidents."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from pool.ledger import Ledger
from pool.model.incidents import Incident, What
from pool.operations.vitals import Name, Over, Trouble, Vitals

LASTS_SECONDS = 3.0  # a shorter trouble is not noted
_TIDY_SECONDS = 30.0
_OURS = (What.REDIS, What.WORKER, What.PROVIDER)


class IncidentNotes:
    """Notes the beginning and end of troubles. If several processes see one, it is noted once."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._noted: set[Name] = set()
        self._ended: dict[Name, datetime] = {}
        self._tidied_at = -_TIDY_SECONDS

    async def note(self, vitals: Vitals) -> None:
        """Make the ledger agree with the present. Raise LedgerUnavailable; then repeat the call."""
        standing = {(each.what, each.about): each for each in vitals.troubles}
        if (What.LEDGER, "") in standing:
            return
        for name, trouble in standing.items():
            lasted = vitals.at - trouble.since
            if name not in self._noted and lasted >= timedelta(seconds=LASTS_SECONDS):
                await self._ledger.incidents.begin(_incident(trouble, None))
                self._noted.add(name)
        for over in vitals.over:
            await self._end(over)
        if self._clock() - self._tidied_at >= _TIDY_SECONDS:
            self._tidied_at = self._clock()
            await self._tidy(standing.keys())

    async def _end(self, over: Over) -> None:
        name = over.trouble.what, over.trouble.about
        if self._ended.get(name) == over.ended_at:
            return
        if name in self._noted:
            await self._ledger.incidents.end(*name, over.ended_at)
            self._noted.discard(name)
        elif over.lasted_seconds >= LASTS_SECONDS and over.trouble.what is What.LEDGER:
            await self._ledger.incidents.add(_incident(over.trouble, over.ended_at))
        self._ended[name] = over.ended_at

    async def _tidy(self, standing: Collection[Name]) -> None:
        """End incidents of a process that has died since it noted them."""
        if (What.REDIS, "") in standing:
            return
        for each in await self._ledger.incidents.standing(_OURS):
            if (each.what, each.about) not in standing:
                await self._ledger.incidents.end(each.what, each.about, datetime.now(UTC))


def _incident(trouble: Trouble, ended_at: datetime | None) -> Incident:
    return Incident(
        trouble.what,
        trouble.about,
        trouble.since,
        ended_at,
        trouble.text,
        baseline=trouble.turned_away,
    )
