"""Write several rows in an order in which all transactions do, so that none deadlock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, select


def in_order(key: Column[Any], chosen: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition of an UPDATE that locks the chosen rows by `key`, the least first.

    PostgreSQL would lock them in the order in which it comes across them, which differs from one
    transaction to the next, and two that wait for each other fail.
    """
    return key.in_(select(key).where(chosen).order_by(key).with_for_update())
