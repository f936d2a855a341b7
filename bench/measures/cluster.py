"""Measure what a claim costs on a Redis Cluster of three masters, against one Redis.

Both run the same server program with the same durability, each with an API of its own, and the
same meetings, which the Cluster has on all its masters. On few cores all share the same CPU, so a
rate says little of what three machines would carry. The honest figure is CPU per claim: that of the
API processes and of the servers, from the kernel's own accounts, without the load generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import preload
from bench.loads.request import MEETING
from bench.loads.wrk import Load, wrk
from bench.measures.base import Bench, Missing, warm_up
from bench.processes import Process, cpu_seconds
from bench.redis_cluster import CLI, SERVER, Node, RedisCluster
from bench.rows import TIMES, Goal, Row, ratio
from bench.stage import Stage, quiet_meeting
from pool.store import key_names
from pool.up import ports

MEETINGS = 4  # m00000 to m00003 lie on all three masters
CONNECTIONS = 64
_US = 1e6


@dataclass
class Side:
    """One of the two: how to reach the server of a meeting, and what was measured."""

    stage: Stage
    api: Process
    port: int
    nodes: list[Node]
    client_of: Callable[[str], Any]
    loads: list[Load] = field(default_factory=list)
    api_us: list[float] = field(default_factory=list)  # CPU per claim
    redis_us: list[float] = field(default_factory=list)

    @property
    def both_us(self) -> list[float]:
        """Return the CPU per claim of API and servers together."""
        return [api + redis for api, redis in zip(self.api_us, self.redis_us, strict=True)]

    def load(self, bench: Bench, run: int) -> None:
        """Take back all claims, fill the pools, and load once."""
        options = bench.options
        links = int(options.sizes.links_per_second * (options.seconds + 2) / MEETINGS) + 1
        for number in range(MEETINGS):
            sid = f"m{number:05d}"
            client = self.client_of(key_names.epoch(sid))
            preload.forget_claims(client, sid)
            missing = links - preload.level(client, sid)
            if missing > 0:
                prefix = f"{16 * run + number:04x}"
                preload.fresh_links(client, sid, missing, prefix=prefix)
        request = self.stage.request(self.port, MEETING)
        warm_up(bench, request, CONNECTIONS, meetings=MEETINGS)
        api, servers = self._cpu()
        load = wrk(
            request,
            connections=CONNECTIONS,
            seconds=options.seconds,
            threads=options.wrk_threads,
            meetings=MEETINGS,
        )
        api_after, servers_after = self._cpu()
        self.loads.append(load)
        self.api_us.append(_US * (api_after - api) / load.requests)
        self.redis_us.append(_US * (servers_after - servers) / load.requests)

    def _cpu(self) -> tuple[float, float]:
        pids = [node.process.pid for node in self.nodes if node.process]
        return self.api.cpu_seconds(), cpu_seconds(pids)


def measure(bench: Bench) -> list[Row]:
    """Measure rate, latency and CPU per claim on both."""
    bench.needs_wrk()
    if SERVER is None or CLI is None:
        raise Missing("redis-server and redis-cli are not installed (Debian: package redis-server)")
    with _one() as one, _cluster() as cluster:
        for run in range(1, bench.options.runs + 1):
            for side in (one, cluster):
                side.load(bench, run)
            bench.say(
                f"run {run}: one {one.loads[-1].rate:,.0f}/s at {one.both_us[-1]:.1f} us of CPU a "
                f"claim, cluster {cluster.loads[-1].rate:,.0f}/s at {cluster.both_us[-1]:.1f} us"
            )
    costs = zip(cluster.both_us, one.both_us, strict=True)
    rows = [
        Row(
            "ratio.cpu.cluster.one",
            "CPU per claim of API and servers, three masters against one Redis",
            TIMES,
            tuple(theirs / ours for theirs, ours in costs),
            Goal(at_most=1.15),
        ),
        ratio(
            "ratio.rate.cluster.one",
            "claims/s, three masters against one Redis (2 API workers, 64 connections)",
            [load.rate for load in cluster.loads],
            [load.rate for load in one.loads],
            Goal(at_least=0.85),
        ),
    ]
    for name, side in (("one Redis", one), ("three masters", cluster)):
        short = name.split()[0]
        rows += [
            Row(f"rate.{short}", f"{name}: rate", "claims/s", tuple(x.rate for x in side.loads)),
            Row(f"p99.{short}", f"{name}: p99", "ms", tuple(x.p99_ms for x in side.loads)),
            Row(f"cpu.api.{short}", f"{name}: CPU of the API", "us/claim", tuple(side.api_us)),
            Row(f"cpu.redis.{short}", f"{name}: CPU of Redis", "us/claim", tuple(side.redis_us)),
        ]
    return rows


@contextmanager
def _one() -> Iterator[Side]:
    with ExitStack() as stack:
        stage = Stage()
        node = Node(stage.directory / "one", ports.choose(), ports.choose(), (), is_alone=True)
        stack.callback(node.close)
        node.start()
        url = f"redis://127.0.0.1:{node.port}/0"
        yield _side(stack, stage, url, [node], lambda _: node.client)


@contextmanager
def _cluster() -> Iterator[Side]:
    with ExitStack() as stack:
        stage = Stage()
        cluster = RedisCluster(stage.directory / "cluster", replicas=0)
        stack.callback(cluster.close)
        cluster.start()
        where = {
            key: cluster.master_of(key).client
            for key in (key_names.epoch(f"m{number:05d}") for number in range(MEETINGS))
        }
        yield _side(stack, stage, cluster.url, cluster.nodes, where.__getitem__)


def _side(
    stack: ExitStack, stage: Stage, url: str, nodes: list[Node], client_of: Callable[[str], Any]
) -> Side:
    # The stage's own Redis is the broker of both.
    stage.use(REDIS_URL=url, BROKER_URL=stage.redis_server.url())
    stack.enter_context(stage)
    stage.open_meetings([quiet_meeting(f"m{number:05d}") for number in range(MEETINGS)])
    api, port = stage.api(2)
    stack.enter_context(api)
    return Side(stage, api, port, nodes, client_of)
