"""Find the addresses of Redis, broker and ledger, and the secret key, with or without a setting."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pool.config.secret_strength import check_kept_secret
from pool.config.settings import Settings
from pool.errors import SettingsError

SECRET_FILE = "secret.key"  # noqa: S105 - a file's name


def redis_url(settings: Settings) -> str:
    """Return the address of Redis. Raise SettingsError if no setting gives it."""
    if settings.redis_url:
        return settings.redis_url
    raise SettingsError(
        "LINKPOOL_REDIS_URL", f"is not set, and no `linkpool up` runs on {settings.data_dir}"
    )


def broker_url(settings: Settings) -> str:
    """Return the address of Celery's broker: as set, else that of Redis.

    The broker's keys have a prefix of their own, so one database serves both.
    """
    return settings.broker_url or redis_url(settings)


def broker_setting(settings: Settings) -> str:
    """Return the name of the setting that gives the broker's address."""
    return "LINKPOOL_BROKER_URL" if settings.broker_url else "LINKPOOL_REDIS_URL"


def database_url(settings: Settings) -> str:
    """Return the address of the ledger."""
    return settings.database_url or f"sqlite:///{settings.sqlite_path}"


def secret_key(settings: Settings) -> bytes:
    """Return the secret key: as set, else the one in the data directory, made if there is none.

    Processes that start at the same time all get the same key. Raise SettingsError if the data
    directory cannot be used, or the key in it is weak.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = settings.data_dir / SECRET_FILE
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path.exists() and path.stat().st_size):
            _make_once(path, secrets.token_urlsafe(32))
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("LINKPOOL_DATA_DIR", f"cannot keep {path}: {error}") from None
    check_kept_secret(path, secret)
    return secret.encode()


def _make_once(path: Path, text: str) -> None:
    """Make a private file whole, or leave the one that another process made meanwhile."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        if not path.stat().st_size:  # left by a crash of a release that did not write it whole
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
