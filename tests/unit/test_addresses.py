"""Test where things are when the settings leave it open."""

from __future__ import annotations

import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from pool.config.addresses import broker_url, database_url, redis_url, secret_key
from pool.config.settings import load
from pool.errors import SettingsError


def _key_of(directory: str) -> bytes:
    return secret_key(load({}, data_dir=Path(directory)))


def test_processes_that_start_at_once_share_one_secret_key(tmp_path: Path) -> None:
    """Two keys would name one customer twice; also on the very first start there is one."""
    forked = get_context("forkserver")  # from one process that has imported what they need
    forked.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(8, mp_context=forked) as processes:
        for number in range(20):
            directory = str(tmp_path / str(number))
            keys = set(processes.map(_key_of, [directory] * 8))
            assert len(keys) == 1
            assert len(keys.pop()) >= 43


def test_the_secret_key_is_kept_private(tmp_path: Path) -> None:
    """Only its owner may read it, and no draft of it is left."""
    first = _key_of(str(tmp_path))
    assert _key_of(str(tmp_path)) == first
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_an_empty_key_file_is_no_key(tmp_path: Path) -> None:
    """A key file that a crash left empty is made anew."""
    (tmp_path / "secret.key").touch()
    assert len(_key_of(str(tmp_path))) >= 43


def test_the_broker_is_the_same_redis_unless_it_is_set() -> None:
    """Its keys have a prefix, so it needs no database of its own."""
    assert broker_url(load({"LINKPOOL_REDIS_URL": "redis://:p@h:6379/3"})) == "redis://:p@h:6379/3"
    own = load({"LINKPOOL_REDIS_URL": "redis://h", "LINKPOOL_BROKER_URL": "redis://b/0"})
    assert broker_url(own) == "redis://b/0"


def test_the_ledger_is_in_the_data_directory(tmp_path: Path) -> None:
    """Nothing in the settings names Redis."""
    settings = load({}, data_dir=tmp_path)
    assert database_url(settings) == f"sqlite:///{tmp_path}/ledger.sqlite3"
    with pytest.raises(SettingsError, match="LINKPOOL_REDIS_URL"):
        redis_url(settings)
