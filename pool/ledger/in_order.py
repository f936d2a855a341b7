"""Lock several rows in one fixed order, so that no two transactions deadlock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, select


def in_order(key: Column[Any], chosen: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition of an UPDATE that locks the chosen rows by `key`, in ascending order.

    Without it PostgreSQL locks rows in the order in which it finds them, which differs between
    transactions. Two that wait for each other fail.
    """
    return key.in_(select(key).where(chosen).order_by(key).with_for_update())
