"""Read the numbers of links that triggers keep, fold them, and compare them with the links.

Counting the links of a ledger that only grows takes seconds at fifty million. The triggers
(migrations/versions/0013_counts_that_are_kept.py) change the numbers in the transaction that
changes a link, so that no crash and no replay can part the two. Pruned links are counted in the
transaction that deletes them, so that what was handed out in all never falls.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, text, union_all

from pool.ledger.database import Database
from pool.ledger.tables import link_count_changes, link_counts, links, pruned_counts
from pool.model.links import State

Counts = dict[str, dict[State, int]]
_FOLDED_AT_ONCE = 50_000
_KEPT = union_all(
    select(link_counts.c.meeting_sid, link_counts.c.state, link_counts.c.number),
    select(
        link_count_changes.c.meeting_sid, link_count_changes.c.state, link_count_changes.c.change
    ),
).subquery("kept")
_EVER = union_all(
    select(_KEPT.c.meeting_sid, _KEPT.c.state, _KEPT.c.number),
    select(pruned_counts.c.meeting_sid, pruned_counts.c.state, pruned_counts.c.number),
).subquery("ever")
_COUNTED = select(links.c.meeting_sid, links.c.state, func.count().label("number")).group_by(
    links.c.meeting_sid, links.c.state
)
# In the order of the primary key, so that two that fold at once cannot wait for each other.
_FOLD = text(
    """
    WITH taken AS (
      DELETE FROM link_count_changes WHERE id IN (
        SELECT id FROM link_count_changes ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
      ) RETURNING meeting_sid, state, change
    ), folded AS (
      INSERT INTO link_counts (meeting_sid, state, number)
      SELECT meeting_sid, state, sum(change) FROM taken GROUP BY 1, 2 ORDER BY 1, 2
      ON CONFLICT (meeting_sid, state) DO UPDATE SET number = link_counts.number + excluded.number
    )
    SELECT count(*) FROM taken
    """
)
# In the order in which writers and `fold` take them.
_LOCK = "LOCK TABLE links, link_count_changes, link_counts IN SHARE ROW EXCLUSIVE MODE"


class LinkCounts:
    """The number of links in each state, including pruned ones, for each meeting."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Counts:
        """Return the numbers of each meeting that ever had a link."""
        return _by_meeting(await self._database.rows(_ever()))

    async def of(self, sid: str) -> dict[State, int]:
        """Return the numbers of one meeting, empty if it never had a link."""
        statement = _ever().where(_EVER.c.meeting_sid == sid)
        return _by_meeting(await self._database.rows(statement)).get(sid, {})

    async def present(self) -> int:
        """Return how many links the ledger holds, without those that were pruned."""
        [(number,)] = await self._database.rows(select(func.sum(_KEPT.c.number)))
        return int(number or 0)

    async def fold(self) -> None:
        """Fold what statements changed into the numbers, so that reading them stays quick."""
        if self._database.sqlite_path is not None:
            return  # its triggers change the numbers themselves

        def work(connection: Connection) -> int:
            return int(connection.scalar(_FOLD, {"most": _FOLDED_AT_ONCE}) or 0)

        while await self._database.write(work) >= _FOLDED_AT_ONCE:
            pass

    async def wrong(self) -> list[str]:
        """Count all links. Return the meetings whose kept numbers are wrong.

        This may take minutes.
        """

        def work(connection: Connection) -> list[str]:
            # One statement, so that both are of one moment.
            counted = _COUNTED.subquery("counted").c
            both = union_all(
                select(_KEPT.c.meeting_sid, _KEPT.c.state, _KEPT.c.number),
                select(counted.meeting_sid, counted.state, -counted.number),
            ).subquery("both")
            statement = (
                select(both.c.meeting_sid)
                .group_by(both.c.meeting_sid, both.c.state)
                .having(func.sum(both.c.number) != 0)
                .distinct()
                .order_by(both.c.meeting_sid)
            )
            return list(connection.scalars(statement))

        return await self._database.migrate(work)

    async def recount(self) -> None:
        """Count all links anew. Nobody else writes links meanwhile, which may take minutes."""

        def work(connection: Connection) -> None:
            if self._database.sqlite_path is None:
                connection.execute(text(_LOCK))
            connection.execute(delete(link_count_changes))
            connection.execute(delete(link_counts))
            connection.execute(
                insert(link_counts).from_select(["meeting_sid", "state", "number"], _COUNTED)
            )

        await self._database.migrate(work)


def _ever() -> Select[Any]:
    return (
        select(_EVER.c.meeting_sid, _EVER.c.state, func.sum(_EVER.c.number))
        .group_by(_EVER.c.meeting_sid, _EVER.c.state)
        .having(func.sum(_EVER.c.number) != 0)
    )


def _by_meeting(rows: Any) -> Counts:
    counts: Counts = {}
    for sid, state, number in rows:
        counts.setdefault(sid, {})[State(state)] = int(number)
    return counts
