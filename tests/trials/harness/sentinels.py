"""Run a stage whose pools are kept by two Redis processes that three Sentinels watch over.

Every process reaches the others through a proxy, and from a source address of its own kind:
so the Sentinels and the other Redis can be cut off from a master whose clients still reach
it. That is the partition in which two masters hand out links at the same time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import redis

from bench.processes import Process
from pool.up import ports
from tests.redis_process import RedisServer
from tests.servers import redis_servers
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import Budget, Evidence, Outage
from tests.trials.harness.crowd import until
from tests.trials.harness.forgetting import Forgetting
from tests.trials.harness.lacking import Lacking
from tests.trials.harness.proxy import Proxy
from tests.trials.harness.stage import Stage

SERVICE = "main"
SENTINELS = "127.0.0.2"  # where the Sentinels connect from
SERVERS = "127.0.0.3"  # where a replica connects from
_SWITCH_SECONDS = 30.0
_CONFIGURATION = """\
port {port}
bind 127.0.0.1
bind-source-addr {source}
dir {directory}
logfile ""
sentinel announce-ip 127.0.0.1
sentinel monitor {service} 127.0.0.1 {master} 2
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} 600
sentinel failover-timeout {service} 3000
sentinel parallel-syncs {service} 1
"""


def _program() -> Path:
    """Return a server whose source address can be set, which needs Redis 7."""
    for name, path in redis_servers().items():
        if int(name.split()[1].split(".")[0]) >= 7:
            return path
    raise Lacking("a redis-server or valkey-server of 7.0 or later")


class SentinelStage(Stage):
    """The ordinary stage on Sentinels; `redis_server` and its proxy are the first of the two."""

    # A master that is killed and soon back is passed over, or not, as the Sentinels agree; pools
    # are served again once they do (docs/guarantees.md, "What can still go wrong").
    serving_seconds = 30.0

    def __init__(self, *, seed: int = 0, **settings: str) -> None:
        self._program = _program()
        super().__init__(seed=seed, server=self._program, **settings)
        assert self.redis_line is not None
        other = RedisServer(self.directory / "redis-1", server=self._program, timeout_seconds=60.0)
        self.pair = [self.redis_server, other]
        self.lines = [self.redis_line, Proxy(other.port, seed=seed)]
        self.sentinel_ports = [ports.choose() for _ in range(3)]
        self._sentinels: list[Process] = []
        self._forgettings = [self._forgetting, Forgetting(other.directory)]

    def start_redis(self) -> None:
        """Start both servers, then the Sentinels. Return once they know each other."""
        for number, server in enumerate(self.pair):
            server.start()
            self._configure(number)
        with self._client_of(self.pair[1]) as client:
            client.replicaof("127.0.0.1", self.lines[0].port)
        for number, port in enumerate(self.sentinel_ports):
            self._sentinels.append(self._sentinel(number, port))
        until(self._ready, _SWITCH_SECONDS, "the Sentinels know each other and the replica")

    def _configure(self, number: int) -> None:
        """Set on a server the options that it needs as one of two, and forgets when it restarts."""
        with self._client_of(self.pair[number]) as client:
            client.config_set("replica-announce-ip", "127.0.0.1")
            client.config_set("replica-announce-port", self.lines[number].port)
            client.config_set("masterauth", self.pair[number].password)
            client.config_set("bind-source-addr", SERVERS)
            client.config_set("repl-diskless-sync-delay", 0)
            client.config_set("repl-timeout", 2)
            client.config_set("repl-ping-replica-period", 1)

    def kill_redis(self, *, down_seconds: float = 0.0, forget_seconds: float = 0.0) -> Outage:
        """Kill the master, and start it from what it had written this long before.

        It comes back as the master if it is quick, else as the replica of the other.
        """
        number, died_at = self.master, time.time()
        self.pair[number].kill()
        if forget_seconds:
            forgot = self._forgettings[number].forget(forget_seconds)
            self.forgotten_seconds = max(self.forgotten_seconds, forgot)
        time.sleep(down_seconds)
        self.pair[number].start()
        self._configure(number)
        outage = Outage(died_at, time.time())
        self.outages.append(outage)
        return outage

    def _sentinel(self, number: int, port: int) -> Process:
        directory = self.directory / f"sentinel-{number}"
        directory.mkdir()
        config = directory / "sentinel.conf"
        config.write_text(
            _CONFIGURATION.format(
                port=port,
                source=SENTINELS,
                directory=directory,
                service=SERVICE,
                master=self.lines[0].port,
                password=self.redis_server.password,
            )
        )
        command = [str(self._program), str(config), "--sentinel"]
        process = Process(command, self.log(f"sentinel-{number}"), port=port)
        process.start()
        return process

    def stop_redis(self) -> None:
        """End all five."""
        for process in self._sentinels:
            process.stop()
        for server in self.pair:
            server.kill()
        self.lines[1].close()
        self._forgettings[1].close()

    # -- who is who ------------------------------------------------------------------

    def redis_url(self, database: int = 0, *, proxied: bool = True) -> str:
        """Return the Sentinels' address, for every part."""
        del proxied
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        password = self.redis_server.password
        return f"redis+sentinel://:{password}@{hosts}/{SERVICE}/{database}"

    @property
    def master(self) -> int:
        """Return the one of the two that the Sentinels call master: 0 or 1."""
        found = [self._master_port(port) for port in self.sentinel_ports]
        return 0 if found.count(self.lines[0].port) >= 2 else 1

    @property
    def redis(self) -> Any:
        """Return a client of the master, past its proxy."""
        return self._client_of(self.pair[self.master])

    @property
    def broker(self) -> Any:
        """Return a client of the broker's database on the master, past its proxy."""
        return redis.Redis.from_url(self.pair[self.master].url(1), socket_timeout=5)

    def _client_of(self, server: RedisServer) -> Any:
        return redis.Redis.from_url(server.url(), socket_timeout=5)

    def _ask(self, port: int, *words: str) -> Any:
        with redis.Redis("127.0.0.1", port, socket_timeout=2) as client:
            return client.execute_command("SENTINEL", *words)

    def _master_port(self, port: int) -> int:
        return int(self._ask(port, "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _ready(self) -> bool:
        for port in self.sentinel_ports:
            facts = self._ask(port, "MASTER", SERVICE)
            if isinstance(facts, list):
                facts = dict(zip(facts[::2], facts[1::2], strict=True))
            told = {_text(name): _text(value) for name, value in facts.items()}
            if told["num-other-sentinels"] != "2" or told["num-slaves"] != "1":
                return False
            if "down" in told["flags"]:
                return False
        return self.replicates()

    def replicates(self) -> bool:
        """Return True if the replica follows the master."""
        try:
            told = self._client_of(self.pair[1 - self.master]).info("replication")
        except redis.RedisError:
            return False
        return told["role"] == "slave" and told["master_link_status"] == "up"

    def evidence(self, tape: Tape, *sids: str, budget: Budget | None = None) -> Evidence:
        """Return the evidence once all agree on the master, whose pools alone are handed out."""

        def agreed() -> bool:
            told = {self._master_port(port) for port in self.sentinel_ports}
            return len(told) == 1 and self.replicates()

        until(agreed, _SWITCH_SECONDS, "all Sentinels name one master, and the other follows it")
        return super().evidence(tape, *sids, budget=budget)

    # -- faults ----------------------------------------------------------------------

    def partition(self, seconds: float) -> None:
        """Cut the master off from Sentinels and replica, but not from its clients, until the
        replica has been master for this long.
        """
        before = self.master
        self.lines[before].cut_off({SENTINELS, SERVERS})
        try:
            until(lambda: self.master != before, _SWITCH_SECONDS, "the replica is promoted")
            time.sleep(seconds)
        finally:
            self.lines[before].calm()
        until(self.replicates, _SWITCH_SECONDS, "the old master follows the new")

    def fail_over(self) -> None:
        """Let the two change places, in order."""
        before = self.master

        def asked() -> bool:
            try:
                self._ask(self.sentinel_ports[0], "FAILOVER", SERVICE)
            except redis.ResponseError:  # the one before is not over yet
                return self.master != before
            return True

        until(asked, _SWITCH_SECONDS, "a Sentinel starts the failover")
        until(lambda: self.master != before, _SWITCH_SECONDS, "the replica is promoted")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
