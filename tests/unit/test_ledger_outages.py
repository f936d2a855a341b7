"""Test that an outage of the database, a refusal and a defect are distinguished."""

from __future__ import annotations

import sqlite3
import ssl
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pool.errors import LedgerUnavailable
from pool.ledger.failures import translated
from pool.model.marks import Marks

MARKS = Marks(b"secret key of the tests")
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def sqlstate(code: str) -> Exception:
    error = Exception("what the driver says")
    error.sqlstate = code  # type: ignore[attr-defined]
    return error


def sqlite(code: int) -> Exception:
    error = sqlite3.OperationalError("what the driver says")
    error.sqlite_errorcode = code
    error.sqlite_errorname = f"SQLITE_{code}"
    return error


def raised(error: Exception, **more: Any) -> Exception:
    """Return what SQLAlchemy makes of a driver's error."""
    return DBAPIError("SELECT 1", {}, error, **more)


OUTAGES: dict[str, tuple[Exception, str]] = {
    **{
        f"SQLSTATE {code}": (raised(sqlstate(code)), f"(SQLSTATE {code})")
        for code in (
            "08006", "25006", "28P01", "3D000", "40P01", "53300", "55P03", "57P01", "58030",
            "42501",
        )
    },
    "a standby": (raised(sqlstate("25006")), "the ledger only reads"),
    "a full disk": (raised(sqlstate("53100")), "the ledger has a full disk"),
    "no connection left": (raised(sqlstate("53300")), "max_connections"),
    "a statement that took too long": (raised(sqlstate("57014")), "does not answer in time"),
    "no table, PostgreSQL": (raised(sqlstate("42P01")), "linkpool db upgrade"),
    "no table, SQLite": (
        raised(sqlite3.OperationalError("no such table: links")), "linkpool db upgrade",
    ),
    **{
        f"SQLite {code}": (raised(sqlite(code)), f"(SQLITE_{code})")
        for code in (
            sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
            sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH,
            sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY | 2 << 8, sqlite3.SQLITE_READONLY | 4 << 8,
        )
    },
    "a broken connection": (raised(Exception("?"), connection_invalidated=True), "broke"),
    "a closed connection": (raised(Exception("The Connection is closed")), "broke"),
    "no connection is free": (PoolTimeout("all taken"), "busy"),
    "too slow": (TimeoutError(), "in time"),
    "nobody there": (ConnectionRefusedError(111, "refused"), "cannot be reached"),
}  # fmt: skip

DEFECTS: dict[str, Exception] = {
    "a duplicate, PostgreSQL": raised(sqlstate("23505")),
    "bad syntax, PostgreSQL": raised(sqlstate("42601")),
    "a bad value, PostgreSQL": raised(sqlstate("22P02")),
    "a duplicate, SQLite": raised(sqlite(sqlite3.SQLITE_CONSTRAINT)),
    "bad syntax, SQLite": raised(sqlite(sqlite3.SQLITE_ERROR)),
    "a driver's own": raised(Exception("what is this")),
    "SQLAlchemy's own": InvalidRequestError("misused"),
    "an integrity error": IntegrityError("INSERT", {}, sqlstate("23505")),
    "ours": ValueError("naive"),
}


@pytest.mark.parametrize("case", OUTAGES)
def test_a_database_that_cannot_be_used_now_is_an_outage(case: str) -> None:
    """The error has a sentence of its own, and nothing of the driver's text."""
    error, says = OUTAGES[case]
    with pytest.raises(LedgerUnavailable) as found, translated():
        raise error
    assert says in str(found.value)
    assert "what the driver says" not in str(found.value)
    assert found.value.__cause__ is error


def untrusted(message: str) -> Exception:
    error = ssl.SSLCertVerificationError(1, "what the driver says")
    error.verify_message = message
    return error


REFUSED = {
    "an unknown authority": (untrusted("self-signed certificate"), "not trusted (self-signed"),
    "a server without TLS": (
        ConnectionError('PostgreSQL server at "what the driver says" rejected SSL upgrade'),
        "asks for TLS",
    ),
    "options at odds": (
        asyncpg.exceptions.ClientConfigurationError("what the driver says"),
        "that do not go together",
    ),
    "an option that is none": (
        asyncpg.PostgresSyntaxError("what the driver says"),
        "the server does not take",
    ),
    "an unknown setting": (
        asyncpg.UndefinedObjectError("what the driver says"),
        "the server does not take",
    ),
    "no such schema": (raised(sqlstate("3F000")), "names a schema"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_stays_so_until_the_address_is_mended_is_a_refusal(case: str) -> None:
    """A start ends there, with that sentence."""
    error, says = REFUSED[case]
    with pytest.raises(LedgerUnavailable) as found, translated():
        raise error
    assert says in found.value.refusal
    assert "what the driver says" not in found.value.refusal


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (asyncpg.CannotConnectNowError("what the driver says"), "starting or stopping"),
        (asyncpg.TooManyConnectionsError("what the driver says"), "no connection left"),
        (asyncpg.ObjectNotInPrerequisiteStateError("what the driver says"), "does not accept"),
        (asyncpg.ProtocolViolationError("what the driver says"), "SQLSTATE 08P01"),
        (asyncpg.InternalClientError("what the driver says"), "does not answer as PostgreSQL"),
        (asyncpg.InterfaceError("what the driver says"), "does not answer as PostgreSQL"),
    ],
)
def test_what_the_driver_meets_while_it_connects_is_an_outage(error: Exception, says: str) -> None:
    """A server that is just starting must not end a process that could wait for it."""
    with pytest.raises(LedgerUnavailable, match=says) as found, translated():
        raise error
    assert not found.value.refusal


def test_servers_of_another_kind_may_change_their_minds() -> None:
    """After a failover one of them is the primary."""
    none = asyncpg.exceptions.TargetServerAttributeNotMatched("what the driver says")
    with pytest.raises(LedgerUnavailable, match="target_session_attrs") as found, translated():
        raise none
    assert not found.value.refusal


@pytest.mark.parametrize("case", DEFECTS)
def test_a_defect_is_no_outage(case: str) -> None:
    """Trying it again would not help."""
    with pytest.raises(type(DEFECTS[case])) as found, translated():
        raise DEFECTS[case]
    assert found.value is DEFECTS[case]
