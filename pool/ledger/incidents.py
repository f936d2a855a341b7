"""Keep incidents: what went wrong or was changed, from when to when, and what it cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, insert, select, update

from pool.ledger.database import Database
from pool.ledger.tables import OPEN, incidents
from pool.model.incidents import KEPT_DAYS, SAME_SECONDS, Incident, What

_SIDS_KEPT = 2_000  # of one incident


class Incidents:
    """The incidents of the last 90 days.

    Only one of a kind and subject lasts at a time, whichever process notices it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, incident: Incident) -> bool:
        """Note that an incident stands. Return True if that was not known.

        One of the same kind that ended a moment ago goes on, and one that stands already gets
        the meetings that it did not have.
        """
        lately = incident.began_at - timedelta(seconds=SAME_SECONDS)
        found = await self._list(
            _of(incident.what, incident.about).where(
                (incidents.c.ended_at.is_(None)) | (incidents.c.ended_at >= lately)
            )
        )
        for same in found:
            sids = _union(same.sids, incident.sids)
            if same.ended_at is None and sids == same.sids:
                return False
            await self._database.change(
                update(incidents)
                .where(incidents.c.id == same.id)
                .values(ended_at=None, sids=_kept(sids), text=incident.text)
            )
            return same.ended_at is not None
        statement = self._database.insert(incidents).values(**_values(incident))
        return bool(
            await self._database.change(
                statement.on_conflict_do_nothing(
                    index_elements=[incidents.c.what, incidents.c.about], index_where=OPEN
                )
            )
        )

    async def end(self, what: What, about: str, at: datetime) -> bool:
        """Note that an incident is over. Return False if none stood."""
        return bool(
            await self._database.change(
                update(incidents)
                .where(
                    incidents.c.what == what,
                    incidents.c.about == about,
                    incidents.c.ended_at.is_(None),
                )
                .values(ended_at=at)
            )
        )

    async def add(self, incident: Incident) -> None:
        """Note an incident that is over. One of the same kind it touches grows by it."""
        assert incident.ended_at is not None  # noqa: S101 - what stands is begun, not added
        lately = incident.began_at - timedelta(seconds=SAME_SECONDS)
        found = await self._list(
            _of(incident.what, incident.about).where(incidents.c.ended_at >= lately)
        )
        if not found or incident.what is What.SETTINGS:
            await self._database.change(insert(incidents).values(**_values(incident)))
            return
        same = found[0]
        await self._database.change(
            update(incidents)
            .where(incidents.c.id == same.id)
            .values(
                began_at=min(same.began_at, incident.began_at),
                ended_at=max(same.ended_at or incident.ended_at, incident.ended_at),
                sids=_kept(_union(same.sids, incident.sids)),
                links_lost=same.links_lost + incident.links_lost,
                baseline=incident.baseline if same.baseline is None else same.baseline,
            )
        )

    async def settle(self, incident_id: int, turned_away: int, links_lost: int = 0) -> None:
        """Note the final cost of an incident. It may be noted again with the same numbers."""
        await self._database.change(
            update(incidents)
            .where(incidents.c.id == incident_id)
            .values(
                turned_away=turned_away,
                links_lost=incidents.c.links_lost + links_lost,
                baseline=None,
            )
        )

    async def standing(self, kinds: Collection[What] = tuple(What)) -> list[Incident]:
        """Return the incidents of these kinds that are not over, the latest first."""
        return await self._list(
            select(incidents).where(
                incidents.c.ended_at.is_(None), incidents.c.what.in_(list(kinds))
            )
        )

    async def unsettled(self, ended_before: datetime, since: datetime) -> list[Incident]:
        """Return incidents that ended in that time, and whose cost is not known yet."""
        return await self._list(
            select(incidents).where(
                incidents.c.began_at >= since,
                incidents.c.ended_at < ended_before,
                incidents.c.baseline.is_not(None),
            )
        )

    async def since(self, at: datetime, *, limit: int = 2_000) -> list[Incident]:
        """Return incidents that stood at some time since then, the latest first."""
        return await self._list(
            select(incidents)
            .where((incidents.c.ended_at >= at) | incidents.c.ended_at.is_(None))
            .where(incidents.c.began_at >= at - timedelta(days=KEPT_DAYS))
            .limit(limit)
        )

    async def latest(self, limit: int) -> list[Incident]:
        """Return the latest incidents, those that began last first."""
        return await self._list(select(incidents).limit(limit))

    async def prune(self, now: datetime | None = None) -> int:
        """Delete incidents that ended over 90 days ago. Return their number."""
        before = (now or datetime.now(UTC)) - timedelta(days=KEPT_DAYS)
        return await self._database.change(
            delete(incidents).where(incidents.c.began_at < before, incidents.c.ended_at < before)
        )

    async def _list(self, statement: Select[Any]) -> list[Incident]:
        ordered = statement.order_by(incidents.c.began_at.desc(), incidents.c.id.desc())
        return [
            Incident(
                **dict(row._mapping)
                | {"what": What(row.what), "sids": None if row.sids is None else tuple(row.sids)}
            )
            for row in await self._database.rows(ordered)
        ]


def _of(what: What, about: str) -> Select[Any]:
    return select(incidents).where(incidents.c.what == what, incidents.c.about == about)


def _values(incident: Incident) -> dict[str, Any]:
    given: dict[str, Any] = asdict(incident) | {"sids": _kept(incident.sids)}
    del given["id"]  # which the database chooses
    return given


def _union(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if some is None or others is None else tuple(sorted({*some, *others}))


def _kept(sids: Iterable[str] | None) -> list[str] | None:
    return None if sids is None else list(sids)[:_SIDS_KEPT]
