"""Turn rows of the table `links` into the value object Link."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Select, select

from pool.ledger.tables import links
from pool.model.links import Link, State

# The columns to select for a Link, in the order of its fields.
LINK: tuple[Any, ...] = tuple(links.c[field.name] for field in fields(Link))
# To be narrowed by `where`. It stands here because choosing columns anew would be most of the time
# that a short statement takes to be made.
SELECT_LINKS: Select[Any] = select(*LINK)
_STATE = [field.name for field in fields(Link)].index("state")


def links_of(rows: Iterable[Sequence[Any]]) -> list[Link]:
    """Return the links of rows that hold the columns LINK."""
    return [_link(row) for row in rows]


def link_of(rows: Iterable[Sequence[Any]]) -> Link | None:
    """Return the first link, or None if there is no row."""
    return next(iter(links_of(rows)), None)


def _link(row: Sequence[Any]) -> Link:
    values: list[Any] = list(row)
    values[_STATE] = State(values[_STATE])
    return Link(*values)
