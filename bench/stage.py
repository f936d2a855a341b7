"""Set up what a measure needs: a directory, a Redis, a ledger, a key, and linkpool's processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import redis

from bench.loads.request import Request, claim_request
from bench.processes import PYTHON, Process
from pool.access.api_keys import Scope, make_key
from pool.bootstrap import prepare
from pool.compose import Parts, compose
from pool.config.settings import PREFIX, Settings, load
from pool.model.meetings import Meeting
from pool.telemetry.logs import configure_logging
from pool.up import ports
from pool.up.parts import WORKER_NICENESS
from tests.redis_process import RedisServer

T = TypeVar("T")
SANDBOX_KEY = "sandbox-key"


class Stage:
    """A set of parts on this machine, in a directory that is removed at the end.

    Redis has the product's own configuration; the ledger is SQLite unless set otherwise.
    """

    def __init__(self, *, database_url: str | None = None, **settings: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="linkpool-bench-"))
        self.redis_server = RedisServer(self.directory / "redis", timeout_seconds=120.0)
        self.sandbox_port = ports.choose()
        self.key = ""
        self._set = settings
        self._database_url = database_url or f"sqlite:///{self.directory / 'ledger.sqlite3'}"
        self._client: Any = None

    def __enter__(self) -> Stage:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> None:
        self.redis_server.start()
        self._client = redis.Redis.from_url(self.redis_server.url(), socket_timeout=600)
        configure_logging(log_format="console", log_level="error")
        asyncio.run(prepare(self.settings(), []))

        async def add_key(parts: Parts) -> None:
            # A key as a site has it: the admin key would be a shorter way.
            self.key, kept = make_key(frozenset({Scope.CLAIM.value}), None, "bench")
            await parts.ledger.keys.add(kept)

        self.work(add_key)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End Redis and remove the directory."""
        if self._client is not None:
            self._client.close()
        self.redis_server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def redis(self) -> Any:
        """Return a blocking client of the Redis."""
        return self._client

    def use(self, **settings: str) -> None:
        """Set more of linkpool's settings, before anything is started."""
        self._set |= settings

    # -- settings ------------------------------------------------------------------

    def environ(self, part: str = "bench", **more: object) -> dict[str, str]:
        """Return the environment of a process of linkpool."""
        ours = {
            "REDIS_URL": self.redis_server.url(),
            "DATABASE_URL": self._database_url,
            "DATA_DIR": str(self.directory / part),
            "SECRET_KEY": "the secret key of the benchmark, and of nothing else",
            "NEETOCAL_SUBDOMAIN": "sandbox",
            "NEETOCAL_API_KEY": SANDBOX_KEY,
            "NEETOCAL_BASE_URL": f"http://127.0.0.1:{self.sandbox_port}",
            "LOG_LEVEL": "error",
        }
        ours |= self._set | {name: str(value) for name, value in more.items()}
        rest = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return rest | {PREFIX + name: value for name, value in ours.items()}

    def settings(self) -> Settings:
        """Return the settings of this process."""
        return load(self.environ())

    def work(self, work: Callable[[Parts], Awaitable[T]]) -> T:
        """Run a coroutine on the product's own parts."""

        async def call() -> T:
            async with compose(self.settings()) as parts:
                return await work(parts)

        return asyncio.run(call())

    # -- meetings and processes ----------------------------------------------------

    def open_meetings(self, meetings: Iterable[Meeting]) -> None:
        """Put meetings into the ledger and open their pools."""
        chosen = list(meetings)

        async def put(parts: Parts) -> None:
            for meeting in chosen:
                await parts.ledger.meetings.put(meeting)

        self.work(put)
        asyncio.run(prepare(self.settings(), []))

    def api(self, workers: int = 1) -> tuple[Process, int]:
        """Return `linkpool api`, not started yet, and its port."""
        port = ports.choose()
        name = f"api-{port}"
        environ = self.environ(name, API_WORKERS=workers, HOST="127.0.0.1", PORT=port)
        command = [PYTHON, "-m", "pool.cli", "api"]
        return Process(command, self.log(name), environ=environ, port=port), port

    def worker(self) -> Process:
        """Return `linkpool worker`, not started yet, which steps back as that of `up` does."""
        nice = [shutil.which("nice") or "nice", "-n", str(WORKER_NICENESS)]
        command = [*nice, PYTHON, "-m", "worker", "worker"]
        return Process(command, self.log("worker"), environ=self.environ("worker"))

    def beat(self) -> Process:
        """Return `linkpool beat`, not started yet."""
        command = [PYTHON, "-m", "worker", "beat"]
        return Process(command, self.log("beat"), environ=self.environ("worker"))

    def sandbox(self, *flags: str) -> Process:
        """Return the sandbox, not started yet."""
        command = [PYTHON, "-m", "sandbox", "--port", str(self.sandbox_port), "--any-meeting"]
        return Process(
            [*command, "--api-key", SANDBOX_KEY, *flags],
            self.log("sandbox"),
            port=self.sandbox_port,
        )

    def request(self, port: int, sid: str) -> Request:
        """Return a claim of a new customer."""
        return claim_request(port, f"/v1/meetings/{sid}/claims", key=self.key)

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self.directory / f"{name}.log"


def quiet_meeting(sid: str, **changes: Any) -> Meeting:
    """Return a meeting whose pool neither tops up nor falls back while claims are measured."""
    quiet: dict[str, Any] = {"min_fresh": 0, "max_fresh": 1, "on_empty": "fail"}
    return Meeting(sid, **(quiet | changes))
