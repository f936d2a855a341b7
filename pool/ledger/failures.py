"""Tell failures that mean "the database cannot be used now" from defects in statements."""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pool.errors import LedgerUnavailable, LinkpoolError

# SQLite's primary result codes (https://sqlite.org/rescode.html).
_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOTADB,
    }
)
# PostgreSQL's classes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html):
# connection, transaction state (read-only after a failover, idle for too long), authorisation,
# no such database or schema, rolled back (deadlock), no resources, object in use (lock time-out),
# operator intervention (shutdown, cancelled by time-out), system error.
_SQLSTATE_CLASSES = frozenset({"08", "25", "28", "3D", "3F", "40", "53", "55", "57", "58"})
_FILES_OF = ("X509", "PEM")  # what the library of TLS calls its readers of files
_SYNTAX_CLASSES = frozenset({"22", "42"})  # of a connection: its options
# What an operator can do something about, in words; the others are named by their SQLSTATE alone.
_OUTAGES = {
    "08P01": "is behind a pooler that refuses the database, the user or an option",
    "25006": "only reads: LINKPOOL_DATABASE_URL names a standby, or its server lets nobody write",
    "53100": "has a full disk",
    "53300": "has no connection left; its max_connections is reached",
    "55000": "does not accept connections to this database",
    "57014": "does not answer in time",
    "57P01": "is being shut down",
    "57P03": "is starting or stopping",
}
_UNDEFINED_TABLE = "42P01"
_NO_PRIVILEGE = "42501"
# Failures that last until somebody changes the setting or the database, by SQLSTATE or SQLite's
# code.
_NOT_OPENED = "names a file that cannot be opened or made; its directory must exist"
_REFUSALS: dict[object, str] = {
    "28P01": "has a user or password that the server refuses",
    "28000": "has a user that the server does not let in from here, or not without TLS",
    "3D000": "names a database that does not exist",
    "3F000": "names a schema, by itself or by a search_path, that does not exist there",
    _NO_PRIVILEGE: "has a user without a right that linkpool needs; let it own its database",
    sqlite3.SQLITE_NOTADB: "names a file that is no SQLite database",
    sqlite3.SQLITE_CANTOPEN: _NOT_OPENED,
    sqlite3.SQLITE_READONLY: "names a file that may not be written",
    sqlite3.SQLITE_PERM: "names a file that may not be used",
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise LedgerUnavailable for failures that mean "not now"; let our own defects through."""
    try:
        yield
    except PoolTimeout as error:
        raise LedgerUnavailable("all connections to the ledger are busy") from error
    except DBAPIError as error:
        problem = _problem_of(error)
        if problem is None:
            raise
        raise LedgerUnavailable(problem, refusal=_refusal_of(error.orig)) from error
    except SQLAlchemyError:
        raise
    except TimeoutError as error:
        raise LedgerUnavailable("the ledger does not answer in time") from error
    except LinkpoolError:
        raise
    except Exception as error:
        refusal = _refusal_of(error) or _option_refused(error)
        problem = f"the ledger {refusal}" if refusal else _problem_of_connecting(error)
        if problem is None:
            raise
        raise LedgerUnavailable(problem, refusal=refusal) from error


def _option_refused(error: Exception) -> str:
    """Return what is wrong with the address if the server refuses one of its options."""
    sqlstate = str(getattr(error, "sqlstate", None) or "")
    refused = sqlstate[:2] in _SYNTAX_CLASSES and sqlstate != _NO_PRIVILEGE
    return "has options, or a value of one, that the server does not take" if refused else ""


def _problem_of_connecting(error: Exception) -> str | None:
    """Return a sentence for an error of the network, or of the driver itself while it connects.

    SQLAlchemy has not seen these: they come without its own kinds of errors.
    """
    if isinstance(error, OSError):
        return "the ledger cannot be reached"
    if _is(error, "TargetServerAttributeNotMatched"):
        return "none of the ledger's servers is as target_session_attrs wants it"
    if (sqlstate := getattr(error, "sqlstate", None)) is not None:
        return _problem_of_state(str(sqlstate))
    if any(_is(error, name) for name in ("InterfaceError", "InternalClientError")):
        return "the ledger does not answer as PostgreSQL does"
    return None


def _is(error: BaseException | None, name: str) -> bool:
    """Return True for an error of PostgreSQL's driver, which is imported only where it is used."""
    return name in [kind.__name__ for kind in type(error).__mro__]


def _refusal_of(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"leads to a server whose certificate is not trusted ({error.verify_message}); "
            "name the file of its authority by ?sslrootcert="
        )
    if isinstance(error, ssl.SSLError) and (error.library in _FILES_OF or "PEM" in str(error)):
        return "names files for TLS that are no certificate or key, or do not belong together"
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "asks for TLS by its sslmode, and leads to a server without; or to no PostgreSQL"
    if isinstance(error, UnicodeError) and "idna" in str(error):
        return "has a host whose name cannot exist"
    if _is(error, "ClientConfigurationError"):
        return (
            "has options, or this environment has variables PG…, that do not go together or name "
            "what is not there"
        )
    code = getattr(error, "sqlite_errorcode", None)
    return _REFUSALS.get(getattr(error, "sqlstate", None) if code is None else code & 0xFF, "")


def _problem_of(error: DBAPIError) -> str | None:
    """Return a sentence if the database cannot be used now, None if the statement is at fault."""
    if error.connection_invalidated:
        return "the connection to the ledger broke"
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate == _UNDEFINED_TABLE or "no such table" in str(error.orig):
        return "the ledger's tables are missing; run `linkpool db upgrade`"
    if sqlstate is not None:
        return _problem_of_state(str(sqlstate))
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        name = getattr(error.orig, "sqlite_errorname", "an error")
        return f"the ledger cannot be used now ({name})" if code & 0xFF in _SQLITE_CODES else None
    # A driver's error for a connection that it finds closed carries no code.
    return "the connection to the ledger broke" if "connection" in str(error.orig).lower() else None


def _problem_of_state(sqlstate: str) -> str | None:
    if sqlstate[:2] not in _SQLSTATE_CLASSES and sqlstate != _NO_PRIVILEGE:
        return None
    said = _OUTAGES.get(sqlstate, "refuses to work")
    return f"the ledger {said} (SQLSTATE {sqlstate})"
