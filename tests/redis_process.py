"""Run a Redis with the product's own configuration, as a child process of tests and benches."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from pool.up import ports
from pool.up.redis_server import answers, find_redis_server, redis_url, write_redis_config


class RedisDidNotStart(Exception):
    """The server ended, or did not answer PING in time."""


class RedisServer:
    """A Redis with the product's own configuration, as a plain child process.

    Keeps its port over restarts. Not thread-safe. Every method that starts it returns once
    PING answers, and raises RedisDidNotStart after `timeout_seconds`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        password: str = "for-tests-only",
        server: Path | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self.directory = directory.absolute()
        self.port = port or ports.choose()
        self.password = password
        self.timeout_seconds = timeout_seconds
        self._server = server or find_redis_server()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, db: int = 0) -> str:
        """Return the URL at which it answers."""
        return redis_url(self.port, self.password, db)

    @property
    def pid(self) -> int | None:
        """Return its process id, or None while it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._process and self._process.poll() is None:
            return
        config = write_redis_config(self.directory, self.port, self.password)
        log = self.directory / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._server), str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + self.timeout_seconds
        while not answers(self.port, self.password):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RedisDidNotStart(f"Redis did not start on port {self.port}; see {log}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Send SIGTERM and wait: it writes what it has, then ends."""
        self._end(kill=False)

    def kill(self) -> None:
        """Send SIGKILL and wait: up to a second of writes may be lost."""
        self._end(kill=True)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill() if kill else process.terminate()
        try:
            process.wait(self.timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
