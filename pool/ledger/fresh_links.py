"""Choose a meeting's fresh links, also by their epochs, each of which is of one pool."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select, update

from pool.ledger.in_order import in_order
from pool.ledger.tables import links, literal_state
from pool.model.links import State
from pool.model.pools import pool_of_epoch, sid_of


def fresh_of(sid: str, epochs: Collection[str] | None = None) -> ColumnElement[bool]:
    """Return the condition for a meeting's fresh links, or for those of some epochs."""
    fresh = (links.c.meeting_sid == sid) & (links.c.state == literal_state(State.FRESH))
    return fresh if epochs is None else fresh & links.c.epoch.in_(epochs)


def epochs_of_fresh(sid: str) -> Select[Any]:
    """Return the query for the epochs of a meeting's fresh links."""
    return select(links.c.epoch).where(fresh_of(sid)).distinct()


def set_epoch_of_fresh(connection: Connection, pool: str, epoch: str) -> int:
    """Move all fresh links of the pool to `epoch`, within the caller's transaction."""
    sid = sid_of(pool)
    epochs = None
    if pool != sid:
        found = connection.scalars(epochs_of_fresh(sid)).all()
        epochs = [each for each in found if pool_of_epoch(sid, each) == pool]
    fresh = in_order(links.c.slug, fresh_of(sid, epochs))
    return connection.execute(update(links).where(fresh).values(epoch=epoch)).rowcount
