"""Run real parts on this machine, each a process that can be killed, with proxies between them.

Every API server is one process with a port of its own, so that an answer tells who gave it:
promise 4 depends on whether that very process outlived Redis.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import redis

from bench.processes import PYTHON, Process
from pool.access.api_keys import Scope, make_key
from pool.bootstrap import prepare
from pool.compose import Parts, compose
from pool.config.settings import PREFIX, Settings, load
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.model.pools import pool_names
from pool.store import key_names
from pool.up import ports
from pool.up.redis_server import redis_url
from tests.redis_process import RedisServer
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import Budget, Evidence, Outage, Stock
from tests.trials.harness.crowd import until
from tests.trials.harness.forgetting import Forgetting
from tests.trials.harness.postgres import open_server
from tests.trials.harness.proxy import Proxy
from tests.warm_parts import WarmProcess

T = TypeVar("T")
SANDBOX_KEY = "sandbox-key"
WEBHOOK_SECRET = "webhook-secret"
QUIET_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Made:
    """The slugs that may exist: those the provider made, and those a trial added itself."""

    slugs: frozenset[str]
    prefixes: tuple[str, ...]  # of those that are too many to be named

    def __contains__(self, slug: object) -> bool:
        return slug in self.slugs or str(slug).startswith(self.prefixes)


class Server:
    """One API process, named by its port."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        self.died_at: list[float] = []

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.died_at.append(time.time())
        self.process.stop(signal.SIGKILL)

    def start(self) -> None:
        """Start it. Return once it listens."""
        self.process.start()


class Stage:
    """Redis, a ledger on SQLite or as chosen, and as many parts of each kind as are started.

    Nothing runs before it is asked for but Redis, which is `server` if that is given.
    `settings` are linkpool's, without prefix.
    """

    serving_seconds = 5.0  # from Redis being back to a new link being answered, at most

    def __init__(
        self,
        *,
        seed: int = 0,
        proxied: bool = True,
        server: Path | None = None,
        **settings: str,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="linkpool-trial-"))
        self.seed = seed
        self.redis_server = RedisServer(
            self.directory / "redis", server=server, timeout_seconds=60.0
        )
        self.redis_line = Proxy(self.redis_server.port, seed=seed) if proxied else None
        self.sandbox_port = ports.choose()
        self.provider_line = Proxy(self.sandbox_port, seed=seed)
        self.servers: list[Server] = []
        self.worker: Process | None = None
        self.beat: Process | None = None
        self.sandbox: Process | None = None
        self.key = ""
        self.outages: list[Outage] = []
        self.stock_seen: list[Stock] = []
        self.forgotten_seconds = 0.0  # the most that Redis was made to forget
        self._forgetting = Forgetting(self.redis_server.directory)
        self.stocked: set[str] = set()  # slugs that were put into pools by hand
        self.preloaded: set[str] = set()  # and how others begin, that are too many to be named
        self.pool = ThreadPoolExecutor(8)
        self._set = settings
        self._client: Any = None
        self.postgres = open_server()
        # The sandbox closes a connection that was idle for 5 seconds, as httpx does by itself; a
        # request that is sent in that moment would find it closed.
        kept = httpx.Limits(keepalive_expiry=2.0)
        self._http = httpx.Client(timeout=20, trust_env=False, limits=kept)

    # -- life ----------------------------------------------------------------------

    def __enter__(self) -> Stage:
        try:
            self.start_redis()
            asyncio.run(prepare(self.settings(), []))

            async def add_key(parts: Parts) -> None:
                self.key, kept = make_key(frozenset({Scope.CLAIM.value}), None, "trials")
                await parts.ledger.keys.add(kept)

            self.work(add_key)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything and remove the directory."""
        for server in self.servers:
            server.process.stop(signal.SIGKILL)
        for process in (self.beat, self.worker, self.sandbox):
            if process is not None:
                process.stop(signal.SIGKILL)
        if self._client is not None:
            self._client.close()
        self._http.close()
        self._forgetting.close()
        self.stop_redis()
        if self.redis_line is not None:
            self.redis_line.close()
        self.provider_line.close()
        self.pool.shutdown(cancel_futures=True)
        if self.postgres is not None:
            self.postgres.close()
        if not os.environ.get("LINKPOOL_TRIALS_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def start_redis(self) -> None:
        """Start the servers that keep the pools."""
        self.redis_server.start()

    def stop_redis(self) -> None:
        """End it."""
        self.redis_server.kill()

    # -- settings ------------------------------------------------------------------

    def redis_url(self, database: int = 0, *, proxied: bool = True) -> str:
        """Return the address of Redis for the product, or past the proxy without `proxied`."""
        if proxied and self.redis_line is not None:
            return redis_url(self.redis_line.port, self.redis_server.password, database)
        return self.redis_server.url(database)

    @property
    def ledger(self) -> Path:
        """Return the SQLite file."""
        return self.directory / "ledger.sqlite3"

    def mounted(self, at: Path) -> tuple[Path, str]:
        """Return the directory that holds the ledger, or its server's socket, and the ledger's
        address once a link at `at` leads there.
        """
        if self.postgres is not None:
            return self.postgres.directory, f"postgresql://postgres@/postgres?host={at}"
        return self.directory, f"sqlite:///{at}/{self.ledger.name}"

    def environ(self, part: str, *, proxied: bool = True, **more: object) -> dict[str, str]:
        """Return the environment of a process of linkpool."""
        ours = {
            "REDIS_URL": self.redis_url(proxied=proxied),
            "BROKER_URL": self.redis_url(1, proxied=proxied),
            "DATABASE_URL": self.postgres.url if self.postgres else f"sqlite:///{self.ledger}",
            "DATA_DIR": str(self.directory / part),
            "SECRET_KEY": "the secret key of the trials, and of nothing else",
            "NEETOCAL_SUBDOMAIN": "sandbox",
            "NEETOCAL_API_KEY": SANDBOX_KEY,
            "NEETOCAL_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "NEETOCAL_BASE_URL": f"http://127.0.0.1:{self.provider_line.port}",
            "NEETOCAL_REF_FIELD": "ref",
            "SWEEP_SECONDS": "0.5",
            "PROVIDER_RATE": "300",
            "LOG_LEVEL": "warning",
        }
        ours |= self._set | {name: str(value) for name, value in more.items()}
        rest = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return rest | {PREFIX + name: value for name, value in ours.items()}

    def settings(self) -> Settings:
        """Return the settings of this process, which reaches Redis past the proxy."""
        return load(self.environ("trial", proxied=False))

    def work(self, work: Callable[[Parts], Awaitable[T]]) -> T:
        """Run a coroutine on the product's own parts, past the proxies."""

        async def call() -> T:
            async with compose(self.settings()) as parts:
                return await work(parts)

        return asyncio.run(call())

    # -- parts ---------------------------------------------------------------------

    def start_servers(self, count: int, **settings: object) -> list[Server]:
        """Start API servers, all at once; those that run already stay as they are."""
        new = []
        while len(self.servers) < count:
            port = ports.choose()
            name = f"api-{len(self.servers)}"
            environ = self.environ(name, API_WORKERS=1, HOST="127.0.0.1", PORT=port, **settings)
            process = WarmProcess(["pool.api"], self.log(name), environ=environ, port=port)
            self.servers.append(Server(process, port))
            new.append(self.servers[-1])
        list(self.pool.map(Server.start, new))
        return self.servers

    def start_worker(self) -> None:
        """Start a Celery worker and beat. Return once a sweep ran."""
        environ = self.environ("worker")
        self.worker = WarmProcess(["worker", "worker"], self.log("worker"), environ=environ)
        self.beat = WarmProcess(["worker", "beat"], self.log("beat"), environ=environ)
        started_at = time.time()
        self.worker.start()
        self.beat.start()
        until(lambda: self.swept_at() > started_at, 60, "a worker sweeps")

    def swept_at(self) -> float:
        """Return the time of a worker's last sweep, in seconds since 1970."""
        return float(self.redis.get(key_names.HEARTBEAT) or 0) / 1000

    def kill_worker(self) -> None:
        """Kill the worker and its children with SIGKILL, and start it again."""
        assert self.worker is not None
        self.worker.stop(signal.SIGKILL)
        self.worker.start()

    def start_sandbox(self, *flags: str) -> None:
        """Start the provider's stand-in, which remembers after a restart what it made."""
        command = [PYTHON, "-m", "sandbox", "--port", str(self.sandbox_port), "--any-meeting"]
        command += ["--api-key", SANDBOX_KEY, "--webhook-secret", WEBHOOK_SECRET]
        # Its links must begin with the address that the product knows it by.
        command += ["--public-url", f"http://127.0.0.1:{self.provider_line.port}"]
        command += ["--state-file", str(self.directory / "sandbox.jsonl")]
        if self.servers:
            hook = f"http://127.0.0.1:{self.servers[0].port}/v1/webhooks/default"
            command += ["--webhook-url", hook]
        self.sandbox = Process([*command, *flags], self.log("sandbox"), port=self.sandbox_port)
        self.sandbox.start()

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self.directory / f"{name}.log"

    @property
    def server_ports(self) -> list[int]:
        """Return the ports of the API."""
        return [server.port for server in self.servers]

    # -- the sandbox ---------------------------------------------------------------

    def control(self, method: str, what: str, **request: Any) -> dict[str, Any]:
        """Make one of the sandbox's own calls."""
        url = f"http://127.0.0.1:{self.sandbox_port}/_control/{what}"
        answer = self._http.request(method, url, **request)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def knobs(self, **changes: Any) -> None:
        """Turn knobs of the sandbox."""
        self.control("PATCH", "knobs", json=changes)

    def calls(self) -> list[float]:
        """Return when the provider was asked for links, in seconds since 1970; the last 2,000."""
        return [float(call["at"]) for call in self.control("GET", "calls")["calls"]]

    def misbehaved(self) -> dict[str, int]:
        """Return the number of the sandbox's faults, by the knob that caused them."""
        counters: dict[str, dict[str, int]] = self.control("GET", "state")["counters"]
        return counters["misbehaved"]

    # -- Redis ---------------------------------------------------------------------

    @property
    def redis(self) -> Any:
        """Return a blocking client of Redis, past the proxy."""
        if self._client is None:
            self._client = redis.Redis.from_url(self.redis_server.url(), socket_timeout=60)
        return self._client

    @property
    def broker(self) -> Any:
        """Return a blocking client of the broker's database, past the proxy."""
        return redis.Redis.from_url(self.redis_server.url(1), socket_timeout=60)

    def kill_redis(self, *, down_seconds: float = 0.0, forget_seconds: float = 0.0) -> Outage:
        """Kill Redis with SIGKILL, and start it from what it had written this long before."""
        died_at = time.time()
        self.redis_server.kill()
        if forget_seconds:
            self.forgotten_seconds = max(
                self.forgotten_seconds, self._forgetting.forget(forget_seconds)
            )
        time.sleep(down_seconds)
        self.redis_server.start()
        outage = Outage(died_at, time.time())
        self.outages.append(outage)
        return outage

    def pools_of(self, *sids: str) -> list[str]:
        """Return the names of the pools of these meetings."""
        shards = self.redis.hgetall(key_names.SHARDS)
        return [pool for sid in sids for pool in pool_names(sid, int(shards.get(sid.encode(), 1)))]

    def level(self, meeting: str) -> int:
        """Return the number of links in a pool."""
        return int(self.redis.zcard(key_names.fresh(meeting)))

    def saw_stock(self, meeting: str, bound: int) -> int:
        """Look at a level for the checker: at most `bound` (target + calls under way) now."""
        fresh = self.level(meeting)
        self.stock_seen.append(Stock(meeting, fresh, bound))
        return fresh

    # -- meetings and stock --------------------------------------------------------

    def open(self, meeting: Meeting, links: int = 0) -> str:
        """Put a meeting into the ledger, open its pool, and stock it. Return its SID."""

        async def put(parts: Parts) -> None:
            await parts.ledger.meetings.put(meeting)
            await parts.store.published.put([meeting])
            for pool in meeting.pools:
                await parts.recovery.recover(pool, grace_seconds=0.0)

        self.work(put)
        if links:
            self.stock(meeting.sid, links)
        return meeting.sid

    def stock(self, sid: str, count: int) -> None:
        """Put links that no provider made into a pool in the product's own way, rows first."""

        async def fill(parts: Parts) -> None:
            epoch = (await parts.store.look([sid]))[0].epoch
            first = len(self.stocked)
            slugs = [f"one-off-{first + number:012x}" for number in range(count)]
            self.stocked.update(slugs)
            now = datetime.now(UTC)
            for start in range(0, count, 500):
                part = slugs[start : start + 500]
                links = [
                    Link(slug, f"https://sandbox/{slug}", sid, State.FRESH, "pool", epoch, now)
                    for slug in part
                ]
                assert len(await parts.ledger.links.insert_fresh(links)) == len(part)
                await parts.store.add(sid, epoch, part, int(time.time() * 1000))

        self.work(fill)

    # -- the end -------------------------------------------------------------------

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds in the ledger."""
        if self.postgres is not None:
            return self.postgres.rows(sql, values)
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=30)) as at:
            return at.execute(sql, values).fetchall()

    def quiet(self, *sids: str, seconds: float = QUIET_SECONDS) -> None:
        """Wait until every fence stands and every claim and webhook is worked on."""

        found: list[str] = ["nothing was seen yet"]

        async def look(parts: Parts) -> list[str]:
            levels = await parts.store.look(self.pools_of(*sids))
            busy = [f"{level.sid}: {level.fence}" for level in levels if level.fence != "stands"]
            busy += [
                f"{level.sid}: {level.backlog} unrecorded" for level in levels if level.backlog
            ]
            busy += [f"{sid}: opened elsewhere" for sid in await parts.recovery.fallen(levels)]
            if self.worker is not None:
                busy += [
                    f"webhook {event} waits until {not_before}, {attempts} attempts: {error}"
                    for event, not_before, attempts, error in self.rows(
                        "SELECT id, not_before, attempts, last_error FROM inbox"
                        " WHERE state = 'pending'"
                    )
                ]
            return busy

        assert self.worker is None or self.worker.alive, "the worker ended by itself"
        if self.worker is None:
            self.work(lambda parts: _record_all(parts, sids))
        # An answer given just before a fence fell is asserted again some time after it.
        recent = [outage for outage in self.outages if time.time() - outage.back_at < 3]
        if recent:
            time.sleep(3 - (time.time() - recent[-1].back_at))

        def quiet() -> bool:
            try:
                found[:] = self.work(look)
            except Exception as error:  # noqa: BLE001 - what was broken may still be starting
                found[:] = [repr(error)]
            return not found

        until(quiet, seconds, lambda: f"all is worked on; left: {'; '.join(found)}")

    def evidence(self, tape: Tape, *sids: str, budget: Budget | None = None) -> Evidence:
        """Return the evidence, once everything is quiet."""
        self.quiet(*sids)
        # In this order: top-up may be at work, and gives each link a row before it is pooled.
        pools = {
            sid: frozenset(
                slug.decode()
                for pool in self.pools_of(sid)
                for slug in self.redis.zrange(key_names.fresh(pool), 0, -1)
            )
            for sid in sids
        }
        ledger = self.directory / "evidence.sqlite3"
        ledger.unlink(missing_ok=True)
        self._copy_ledger(ledger)
        provider = None
        if self.sandbox is not None:
            links = self.control("GET", "links")["links"]
            slugs = frozenset(link["slug"] for link in links) | self.stocked
            provider = Made(slugs, tuple(self.preloaded))
        deaths: dict[int, list[float]] = defaultdict(list)
        for server in self.servers:
            deaths[server.port] += server.died_at
        return Evidence(
            tape=tape,
            ledger=ledger,
            pools=pools,
            provider=provider,
            stock=tuple(self.stock_seen),
            budget=budget,
            outages=tuple(self.outages),
            deaths=deaths,
        )

    def _copy_ledger(self, to: Path) -> None:
        if self.postgres is not None:
            self.postgres.copy_to(to)
            return
        with closing(sqlite3.connect(self.ledger)) as now, closing(sqlite3.connect(to)) as copy:
            now.backup(copy)

    @contextmanager
    def ledger_locked(self) -> Iterator[None]:
        """Hold the ledger's locks within the block, as another program would."""
        if self.postgres is not None:
            with self.postgres.locked():
                yield
            return
        locker = sqlite3.connect(self.ledger, isolation_level=None, timeout=10)
        locker.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            locker.rollback()
            locker.close()


async def _record_all(parts: Parts, sids: tuple[str, ...]) -> None:
    for sid in sids:
        await parts.recorder.record(sid)


def signal_all(pids: list[int], sign: signal.Signals) -> None:
    """Send a signal to every one of these processes."""
    for pid in pids:
        os.kill(pid, sign)
