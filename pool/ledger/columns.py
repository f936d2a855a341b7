"""Define column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import JSON, BigInteger, Dialect
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An aware time, exact to the millisecond, that comes back in UTC.

    timestamptz on PostgreSQL; on SQLite, which has no such type, milliseconds since 1970.
    Naive times raise ValueError.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    # The processors are made once per statement, not looked up per value: recovery reads
    # millions of times.
    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        convert = whole_milliseconds if dialect.name == "postgresql" else milliseconds
        return lambda value: None if value is None else convert(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # noqa: ARG002 - the signature is the library's
        return None if dialect.name == "postgresql" else from_milliseconds


def whole_milliseconds(time: datetime) -> datetime:
    """Return the time as the ledger keeps it, cut to whole milliseconds."""
    _refuse_naive(time)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def milliseconds(time: datetime) -> int:
    """Return milliseconds since 1970."""
    _refuse_naive(time)
    return (time - _EPOCH) // _MILLISECOND


def from_milliseconds(value: int | None) -> datetime | None:
    """Return the time that is this number of milliseconds after 1970."""
    # Not fromtimestamp(), which goes through an inexact float. Without keywords, timedelta takes
    # half the time.
    return None if value is None else _EPOCH + timedelta(0, 0, 0, value)


def _refuse_naive(time: datetime) -> None:
    if time.tzinfo is None:
        raise ValueError("the ledger accepts only aware times, with a time zone")


# Not jsonb: it refuses the character \u0000, which a customer's metadata may hold, and a
# claim that cannot be written would hold up all that come after it.
Json = JSON(none_as_null=True)


def json_text(value: object) -> str:
    """Return the value as JSON text. What JSON cannot express (NaN) becomes null."""
    return msgspec.json.encode(value).decode()


def storable(text: str) -> str:
    """Return `text` without what PostgreSQL's text cannot hold: NUL and lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
