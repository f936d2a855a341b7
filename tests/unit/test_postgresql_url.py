"""Test that addresses of PostgreSQL work as hosting services hand them out."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from pool.errors import SettingsError
from pool.ledger.postgresql_url import PostgresqlAddress, parse_postgresql

SETTING = "LINKPOOL_DATABASE_URL"
PLAIN = "postgresql://u:p%2Fq@h:5432/db"


@pytest.mark.parametrize(
    ("url", "dsn", "pooled"),
    [
        (PLAIN, PLAIN, False),
        (PLAIN.replace("%2F", "/"), PLAIN, False),
        (f"{PLAIN}?sslmode=require&channel_binding=require", f"{PLAIN}?sslmode=require", False),
        (f"{PLAIN}?sslmode=no-verify", f"{PLAIN}?sslmode=require", False),
        (f"{PLAIN}?connect_timeout=10&keepalives=1&keepalives_idle=30", PLAIN, False),
        (f"{PLAIN}?gssencmode=disable&tcp_user_timeout=1", PLAIN, False),
        (f"{PLAIN}?pgbouncer=true&connection_limit=1&pool_timeout=0", PLAIN, True),
        (f"{PLAIN}?pgbouncer=false", PLAIN, False),
        (f"{PLAIN}?schema=public", PLAIN, False),
        (
            f"{PLAIN}?target_session_attrs=read-write&application_name=x",
            f"{PLAIN}?application_name=x&target_session_attrs=read-write",
            False,
        ),
        ("postgresql://u@/db?host=/run", "postgresql://u@/db?host=%2Frun", False),
        (
            "postgresql://u:p@one:5432,two/db?target_session_attrs=primary",
            "postgresql://u:p@/db?host=one%3A5432%2Ctwo&target_session_attrs=primary",
            False,
        ),
        ("postgresql://one,[::1]:5433", "postgresql:///?host=one%2C%5B%3A%3A1%5D%3A5433", False),
    ],
)
def test_options_of_other_libraries_are_kept_translated_or_dropped(
    url: str, dsn: str, pooled: bool
) -> None:
    assert parse_postgresql(url, SETTING) == PostgresqlAddress(dsn, pooled)
    assert parse_postgresql(url.replace("postgresql:", "postgres:"), SETTING).dsn == dsn


def test_a_schema_of_its_own_is_kept_apart() -> None:
    """A connection is given it; behind a pooler every transaction is."""
    assert parse_postgresql(f"{PLAIN}?schema=links", SETTING) == PostgresqlAddress(
        PLAIN, schema="links"
    )
    assert parse_postgresql(f"{PLAIN}?schema=links&pgbouncer=true", SETTING) == PostgresqlAddress(
        PLAIN, pooled=True, schema="links"
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"{PLAIN}?sslmode=s3cr3t", "sslmode"),
        (f"{PLAIN}?sslrootcert=/s3cr3t.pem", "sslrootcert"),
        (f"{PLAIN}?sslcert=/s3cr3t.pem", "sslcert"),
        (f"{PLAIN}?unheard_of=s3cr3t", "unknown option, unheard_of"),
        (f"{PLAIN}?s3cr3t%20=1", "unknown option"),
        (f"{PLAIN}?schema=s3cr3t'--", "plain name"),
        ("postgresql://u:s3cr3t#more@h/db", "percent-encoded"),
        ("postgresql://u:s3cr3t@more@h/db", "percent-encoded"),
        ("postgresql://u:s3cr3t?more@h/db", "percent-encoded"),
        (f"{PLAIN}?sslmode=require&sslmode=s3cr3t", "option sslmode twice"),
        (f"{PLAIN}?gsslib=s3cr3t", "gsslib"),
        (f"{PLAIN}?sslnegotiation=direct", "sslmode=require"),
        ("postgresql://u:s3cr3t@h:port/db", "not a URL"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(url: str, problem: str) -> None:
    """The line names the setting, and shows no secret and no value."""
    with pytest.raises(SettingsError, match=f"{SETTING}: .*{problem}") as raised:
        parse_postgresql(url, SETTING)
    assert "s3cr3t" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_authority_is_needed_where_it_is_verified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file in the home directory does, as for libpq."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for mode in ("verify-ca", "verify-full"):
        with pytest.raises(SettingsError, match="sslrootcert=system"):
            parse_postgresql(f"{PLAIN}?sslmode={mode}", SETTING)
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").touch()
    assert parse_postgresql(f"{PLAIN}?sslmode=verify-full", SETTING).dsn.endswith("verify-full")


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    found = parse_postgresql(f"{PLAIN}?sslmode=verify-full&sslrootcert={authority}", SETTING)
    assert "sslmode=verify-full" in found.dsn
    assert "sslrootcert=" in found.dsn


def test_the_authorities_of_the_machine_may_be_meant() -> None:
    """libpq's word `system`, which the driver does not know."""
    found = parse_postgresql(f"{PLAIN}?sslmode=verify-full&sslrootcert=system", SETTING)
    [file] = parse_qs(urlsplit(found.dsn).query)["sslrootcert"]
    assert Path(file).is_file()


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("target_session_attrs=s3cr3t", "as target_session_attrs"),
        ("ssl_min_protocol_version=s3cr3t", "as ssl_min_protocol_version"),
        ("sslnegotiation=s3cr3t", "as sslnegotiation"),
    ],
)
def test_a_value_that_the_driver_does_not_take_is_refused_before_it_is_asked(
    option: str, problem: str
) -> None:
    """The driver's own error is a traceback."""
    with pytest.raises(SettingsError, match=problem) as raised:
        parse_postgresql(f"{PLAIN}?{option}", SETTING)
    assert "s3cr3t" not in str(raised.value)
