"""Run a stage whose pools are on a Redis Cluster, and whose broker is a Redis of its own.

Clients and nodes reach every node through a proxy, whose port it announces.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from bench.redis_cluster import CLI, SERVER, Node
from pool.model.meetings import Meeting
from pool.store import key_names
from tests.disturbed_cluster import DisturbedCluster
from tests.trials.harness.checker import Outage
from tests.trials.harness.forgetting import Forgetting
from tests.trials.harness.lacking import Lacking
from tests.trials.harness.proxy import Proxy
from tests.trials.harness.stage import Stage


class Lines:
    """The proxies before all nodes, which are switched together like one."""

    def __init__(self, seed: int) -> None:
        self.all: list[Proxy] = []
        self._seed = seed

    def before(self, port: int) -> int:
        """Put a proxy before a port. Return its own."""
        self.all.append(Proxy(port, seed=self._seed + len(self.all)))
        return self.all[-1].port

    @property
    def cut(self) -> int:
        """Return how many replies were lost so far."""
        return sum(line.cut for line in self.all)

    def cut_replies(self, *, chance: float, matching: bytes) -> None:
        """Lose replies by chance."""
        for line in self.all:
            line.cut_replies(chance=chance, matching=matching)

    def delay(self, seconds: float) -> None:
        """Delay everything by this long each way."""
        for line in self.all:
            line.delay(seconds)

    def calm(self) -> None:
        """End all faults."""
        for line in self.all:
            line.calm()

    def close(self) -> None:
        """End all proxies."""
        for line in self.all:
            line.close()


class _Client(redis.RedisCluster):
    """The library's client, which sends to all masters by a list that may be older than they."""

    def __init__(self, cluster: DisturbedCluster, **options: Any) -> None:
        super().__init__(**options)
        self._masters = cluster.masters

    def flushall(self, *_: Any, **__: Any) -> bool:
        """Empty all masters."""
        return all(node.client.flushall() for node in self._masters())

    def script_flush(self, *_: Any, **__: Any) -> bool:
        """Make all masters forget their scripts."""
        return all(node.client.script_flush() for node in self._masters())


class ClusterStage(Stage):
    """The ordinary stage on a Cluster; faults of Redis concern the master of the last meeting."""

    def __init__(self, *, seed: int = 0, **settings: str) -> None:
        if SERVER is None or CLI is None:
            raise Lacking("redis-server and redis-cli, for a Cluster")
        super().__init__(seed=seed, proxied=False, **settings)
        self.lines = Lines(seed)
        self.redis_line: Any = self.lines
        self.cluster = DisturbedCluster(self.directory / "cluster", announce=self.lines.before)
        self._kills = 0
        self._key = key_names.HEARTBEAT
        self._forgettings: dict[Node, Forgetting] = {}

    def start_redis(self) -> None:
        """Start the broker and the Cluster."""
        super().start_redis()
        self.cluster.start()
        self._forgettings = {node: Forgetting(node.directory) for node in self.cluster.nodes}

    def stop_redis(self) -> None:
        """End all servers."""
        super().stop_redis()
        for forgetting in self._forgettings.values():
            forgetting.close()
        self.cluster.close()

    def redis_url(self, database: int = 0, *, proxied: bool = True) -> str:
        """Return the address of the Cluster; any other database than 0 is the broker's."""
        del proxied
        return self.redis_server.url() if database else self.cluster.url

    @property
    def redis(self) -> Any:
        """Return a blocking client of the Cluster."""
        if self._client is None:
            nodes = [
                redis.cluster.ClusterNode("127.0.0.1", node.announced)
                for node in self.cluster.nodes
            ]
            self._client = _Client(self.cluster, startup_nodes=nodes, socket_timeout=60)
        return self._client

    def open(self, meeting: Meeting, links: int = 0) -> str:
        """Open a meeting as always. Faults concern the master of the one that was opened last."""
        self._key = key_names.epoch(meeting.sid)
        return super().open(meeting, links)

    def aim(self, pool: str) -> None:
        """Let faults concern the master of this pool from now on."""
        self._key = key_names.epoch(pool)

    def kill_redis(self, *, down_seconds: float = 0.0, forget_seconds: float = 0.0) -> Outage:
        """Kill the master with SIGKILL. By turns it comes back at once, without what it wrote
        last, or its replica has taken its place before.
        """
        self._kills += 1
        died_at = time.time()
        dead = self.cluster.master_of(self._key)
        if self._kills % 2:
            dead.kill()
            if forget_seconds:
                forgot = self._forgettings[dead].forget(forget_seconds)
                self.forgotten_seconds = max(self.forgotten_seconds, forgot)
            time.sleep(down_seconds)
        else:
            self.cluster.fail_over(self._key)
        self.cluster.heal()
        outage = Outage(died_at, time.time())
        self.outages.append(outage)
        return outage

    def promote(self) -> None:
        """Let the replica of the meeting's master take its place, in order."""
        self.cluster.promote(self._key)

    def move(self) -> None:
        """Move the slot of the meeting to the next master."""
        masters = self.cluster.masters()
        here = masters.index(self.cluster.master_of(self._key))
        self.cluster.move_slot(self._key, masters[(here + 1) % len(masters)])


@contextmanager
def on_cluster(seed: int) -> Iterator[ClusterStage]:
    """Set up a Cluster, a broker, two API servers, a provider, a worker and a beat."""
    with ClusterStage(seed=seed) as stage:
        try:
            stage.start_servers(2)
            stage.start_sandbox()
            stage.start_worker()
            yield stage
        finally:
            stage.lines.calm()
