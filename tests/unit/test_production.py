"""Test the refusals of LINKPOOL_ENV=production, and the addresses that a start names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.config.production import check_production, where
from pool.config.settings import load
from pool.errors import SettingsError
from pool.telemetry.shared_counts import share_metrics

GOOD = {
    "LINKPOOL_ENV": "production",
    "LINKPOOL_REDIS_URL": "rediss://u:s3cr3t@h:6380/1",
    "LINKPOOL_DATABASE_URL": "postgresql://u:s3cr3t@db:5432/links?sslmode=verify-full",
    "LINKPOOL_SECRET_KEY": "kq8ZtT3vHn2LwYc7RbX5mPd9sGfJ4aVe",
}


def test_good_settings_are_accepted_in_production_and_any_elsewhere() -> None:
    """Without LINKPOOL_ENV=production the same settings that it refuses are accepted."""
    good = load(GOOD)
    assert good.env == "production"
    check_production(good)
    bad = {"LINKPOOL_REDIS_URL": "rediss://h?ssl_cert_reqs=none"}
    check_production(load(bad))
    with pytest.raises(SettingsError, match="LINKPOOL_REDIS_URL"):
        check_production(load(GOOD | bad))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("REDIS_URL", None, "is not set, and production needs it"),
        ("DATABASE_URL", None, "is not set, and production needs it"),
        ("SECRET_KEY", None, "is not set, and production needs it"),
        ("REDIS_URL", "rediss://h?ssl_cert_reqs=none", "does not verify"),
        ("REDIS_URL", "rediss+sentinel://h/main?ssl_cert_reqs=optional", "does not verify"),
        ("BROKER_URL", "rediss://h?ssl_cert_reqs=none", "does not verify"),
        ("DATABASE_URL", "postgresql://u:s3cr3t@h/d?sslmode=no-verify", "does not verify"),
    ],
)
def test_what_would_lose_data_or_secrets_is_refused(
    name: str, value: str | None, problem: str
) -> None:
    """The error is one line, which names the setting."""
    environ = {key: text for key, text in GOOD.items() if key != f"LINKPOOL_{name}"}
    if value is not None:
        environ[f"LINKPOOL_{name}"] = value
    with pytest.raises(SettingsError, match=f"LINKPOOL_{name}: .*{problem}") as raised:
        check_production(load(environ))
    assert "s3cr3t" not in str(raised.value)


def test_beat_needs_redis_alone() -> None:
    beats = {name: GOOD[name] for name in ("LINKPOOL_ENV", "LINKPOOL_REDIS_URL")}
    check_production(load(beats), only_sends=True)
    with pytest.raises(SettingsError, match="LINKPOOL_REDIS_URL"):
        check_production(load({"LINKPOOL_ENV": "production"}), only_sends=True)


def test_no_other_word_is_an_environment() -> None:
    with pytest.raises(SettingsError, match="LINKPOOL_ENV"):
        load({"LINKPOOL_ENV": "prod"})


def test_a_start_names_its_parts_without_secrets(tmp_path: Path) -> None:
    found = where(load(GOOD))
    assert found == {
        "redis": "rediss://h:6380/1",
        "broker": "rediss://h:6380/1",
        "ledger": "postgresql://db:5432/links",
    }
    plain = where(
        load(
            {
                "LINKPOOL_REDIS_URL": "redis://h",
                "LINKPOOL_BROKER_URL": "amqp://u:s3cr3t@mq/v",
                "LINKPOOL_DATA_DIR": str(tmp_path),
            }
        )
    )
    assert plain["broker"] == "amqp://mq/v"
    assert plain["ledger"] == f"sqlite:///{tmp_path}/ledger.sqlite3"
    raw = load({"LINKPOOL_REDIS_URL": "redis://h", "LINKPOOL_DATABASE_URL": "postgres://u:a?b@h/d"})
    assert where(raw)["ledger"] == "postgres://h/d"


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """One that can be made is private, or the next start would refuse it."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"LINKPOOL_DATA_DIR: cannot be written: .*file"):
        share_metrics(tmp_path / "file" / "data", "api")


def test_a_data_directory_that_a_part_makes_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # is set, and put back afterwards
    share_metrics(tmp_path / "data", "api")
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
