"""Keep the outcomes for visitors and links, by meeting and hour, for 90 days.

Redis keeps finer steps for five weeks; this outlasts both those and Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select

from pool.ledger.database import Database
from pool.ledger.tables import hours
from pool.model.incidents import KEPT_DAYS
from pool.model.outcomes import NAMES, Outcomes


@dataclass(frozen=True, slots=True)
class Hour:
    """One meeting in one hour; `EVERYWHERE` stands for all meetings."""

    sid: str
    began_at: datetime
    level: int  # at its end
    lowest: int
    target: int
    outcomes: Outcomes


class Hours:
    """The hours of the last 90 days. Rows are written once, when their hour is over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, found: Sequence[Hour]) -> None:
        """Keep hours. Those that are kept already stay as they are."""
        if not found:
            return
        rows = [
            {
                "meeting_sid": each.sid,
                "began_at": each.began_at,
                "level": each.level,
                "lowest": each.lowest,
                "target": each.target,
                "counts": _packed(each.outcomes),
            }
            for each in found
        ]
        statement = self._database.insert(hours).on_conflict_do_nothing(
            index_elements=[hours.c.meeting_sid, hours.c.began_at]
        )
        await self._database.write(lambda connection: connection.execute(statement, rows) and None)

    async def newest(self) -> datetime | None:
        """Return the beginning of the latest hour that is kept, None if there is none."""
        newest: datetime | None
        [(newest,)] = await self._database.rows(select(func.max(hours.c.began_at)))
        return newest

    async def of(self, sid: str, since: datetime, until: datetime | None = None) -> list[Hour]:
        """Return a meeting's hours that began since then, and before `until`, the oldest first."""
        statement = (
            select(hours)
            .where(hours.c.meeting_sid == sid, hours.c.began_at >= since)
            .order_by(hours.c.began_at)
        )
        if until is not None:
            statement = statement.where(hours.c.began_at < until)
        return [_hour(row) for row in await self._database.rows(statement)]

    async def prune(self, now: datetime | None = None) -> int:
        """Delete hours of over 90 days ago. Return their number."""
        before = (now or datetime.now(UTC)) - timedelta(days=KEPT_DAYS)
        return await self._database.change(delete(hours).where(hours.c.began_at < before))


def _hour(row: Any) -> Hour:
    counts = [int(text or 0) for text in row.counts.split(",")]
    kept = {name: count for name, count in zip(NAMES, counts, strict=False) if count}
    return Hour(*[*row[:-1], Outcomes(kept)])


def _packed(outcomes: Outcomes) -> str:
    """Return the counts in the order of their names, zeros left empty."""
    return ",".join(str(outcomes[name] or "") for name in NAMES).rstrip(",")
