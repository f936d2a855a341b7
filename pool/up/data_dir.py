"""Keep the data directory of `linkpool up`: its files' names, its lock, its secrets and ports."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pool.config.file_trust import distrust_of_directory, distrust_of_own_file
from pool.config.secret_strength import check_kept_secret
from pool.errors import LinkpoolError, SettingsError

UP_LOCK = "up.lock"  # held by `linkpool up`, with its process id inside
PARTS_LOCK = "parts.lock"  # held by every part together
ENVIRONMENT = "up.json"  # the settings of the running parts, for the command line
REDIS_DIRECTORY = "redis"
REDIS_PASSWORD = "redis.password"  # noqa: S105 - a file's name
SUPERVISOR_CONFIG = "supervisord.conf"
SUPERVISOR_SOCKET = "supervisor.sock"
LOGS = "logs"
ADMIN_KEY = "admin.key"
SECRET_KEY = "secret.key"  # noqa: S105 - a file's name
SANDBOX_KEYS = "sandbox.keys"
SANDBOX_STATE = "sandbox.jsonl"
PORTS = "ports.json"

# The kernel takes 103 to 107 bytes; supervisord adds its process id while it binds.
_LONGEST_SOCKET_BYTES = 90


def check_directory(path: Path) -> None:
    """Raise SettingsError if this directory exists and other users could read or change it."""
    try:
        distrust = distrust_of_directory(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error) from None
    if distrust:
        raise SettingsError("LINKPOOL_DATA_DIR", distrust)


def make_directory(path: Path) -> None:
    """Make the directory, private, if it does not exist. Raise SettingsError if it cannot be used.

    Nothing but the directory is made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unusable(path, error) from None


def check_file(path: Path) -> None:
    """Raise SettingsError if this file exists and other users could read or change it."""
    try:
        distrust = distrust_of_own_file(path)
    except OSError as error:
        raise _unusable(path, error) from None
    if distrust:
        raise SettingsError("LINKPOOL_DATA_DIR", distrust)


class AlreadyRunning(LinkpoolError):
    """Another `linkpool up` holds this data directory."""


class DataDirectory:
    """One data directory, made (mode 0700) when it is not there.

    Raise SettingsError naming LINKPOOL_DATA_DIR when it cannot be made or written, or when other
    users may read or change what is in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.made: set[str] = set()  # secrets that were not there before
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_directory(self.path)
            for name in (REDIS_DIRECTORY, LOGS):
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
            for name in (UP_LOCK, PARTS_LOCK):
                os.close(os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise _unusable(self.path, error) from None

    def file(self, name: str) -> Path:
        """Return the path of one of the files named in this module."""
        return self.path / name

    def log(self, part: str) -> Path:
        """Return the file that a part's output goes to."""
        return self.path / LOGS / f"{part}.log"

    @property
    def socket(self) -> Path:
        """Return supervisord's socket: here, or in a directory of this user with a shorter path.

        Raise SettingsError when that directory belongs to another user.
        """
        here = self.path / SUPERVISOR_SOCKET
        if len(os.fsencode(here)) <= _LONGEST_SOCKET_BYTES:
            return here
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        name = f"linkpool-{os.getuid()}-{digest}"
        short = Path(tempfile.gettempdir()) / name
        if len(os.fsencode(short / SUPERVISOR_SOCKET)) > _LONGEST_SOCKET_BYTES:
            short = Path("/tmp") / name  # noqa: S108 - owner and mode are checked below
        try:
            short.mkdir(mode=0o700, exist_ok=True)
            found = short.lstat()
        except OSError as error:
            raise _unusable(short, error) from None
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if not private or found.st_uid != os.getuid():
            raise SettingsError(
                "LINKPOOL_DATA_DIR",
                f"its path is too long for a socket, and {short} belongs to another user",
            )
        return short / SUPERVISOR_SOCKET

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this directory for this process. Raise AlreadyRunning, naming the holder."""
        path = self.path / UP_LOCK
        with path.open("r+") as file:
            if not _lock(file.fileno()):
                holder = file.read().strip() or "unknown"
                raise AlreadyRunning(
                    f"linkpool is already running on {self.path} (process {holder}); "
                    "stop it first, or use another --data-dir"
                )
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def no_part_lives(self) -> bool:
        """Return True if no part of any run is left, and nothing that a part forked."""
        with (self.path / PARTS_LOCK).open("r+") as file:
            return _lock(file.fileno())

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """Return the text of a file of mode 0600, which is made first if it does not exist.

        Raise SettingsError when other users may have read or written it.
        """
        path = self.path / name
        check_file(path)
        with contextlib.suppress(FileNotFoundError):
            if text := path.read_text("utf-8").strip():
                return text
        text = make()
        self.write(name, text + "\n")
        self.made.add(name)
        return text

    def write(self, name: str, text: str) -> None:
        """Write a file of mode 0600, whole or not at all, even when the power fails."""
        path, new = self.path / name, self.path / f"{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def admin_key(self) -> str:
        """Return the admin key of this directory. Raise SettingsError when it is weak."""
        key = self.secret(
            ADMIN_KEY, lambda: f"lp_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
        )
        check_kept_secret(self.path / ADMIN_KEY, key)
        return key

    def secret_key(self) -> str:
        """Return the secret that hashes customer ids; a new one would forget every binding.

        Raise SettingsError when it is weak: it signs sessions too.
        """
        key = self.secret(SECRET_KEY, lambda: secrets.token_urlsafe(32))
        check_kept_secret(self.path / SECRET_KEY, key)
        return key

    def sandbox_keys(self) -> tuple[str, str]:
        """Return the sandbox's API key and webhook secret."""
        keys = self.secret(
            SANDBOX_KEYS, lambda: f"{secrets.token_urlsafe(24)} {secrets.token_urlsafe(32)}"
        )
        api_key, webhook_secret = keys.split()
        return api_key, webhook_secret

    def port(self, part: str, choose: Callable[[int | None], int]) -> int:
        """Return the port that `choose` picks, given the one kept for this part (None at first)."""
        path = self.path / PORTS
        try:
            kept = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            kept = {}
        port = choose(kept.get(part))
        if kept.get(part) != port:
            self.write(PORTS, json.dumps(kept | {part: port}) + "\n")
        return port


def _lock(file: int) -> bool:
    import fcntl  # not on Windows, where this module must still import

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(path: Path, error: OSError) -> SettingsError:
    return SettingsError("LINKPOOL_DATA_DIR", f"cannot use {path}: {error.strerror}")
