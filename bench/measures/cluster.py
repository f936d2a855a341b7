"""Measure what a claim costs on a Redis Cluster of three masters, against one Redis.

Both run the same server program with the same durability, each with an API of its own, and the
same meetings, which the Cluster has on all its masters. On few cores all share the same CPU, so a
rate says little of what three machines would carry. The honest figure is CPU per claim: that of the
API processes and of the servers, from the kernel's own accounts, without the load generator.

Calls for several meetings share a write to their master. Under a load that leaves a master of the
Cluster one meeting at a time, one Redis shares what three masters cannot, and that is shown as
well: as the thin load.
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
from pool.model.meetings import Meeting
from pool.store import key_names
from pool.up import ports

_US = 1e6


@dataclass(frozen=True, slots=True)
class Kind:
    """One load: over how many meetings, m00000 and on, and by how many connections."""

    name: str
    meetings: int
    connections: int


FULL = Kind("full", 12, 192)  # four meetings and 64 connections for each master
THIN = Kind("thin", 4, 64)  # one or two meetings for each master


@dataclass
class Found:
    """The figures of each run."""

    loads: list[Load] = field(default_factory=list)
    api_us: list[float] = field(default_factory=list)  # CPU per claim
    redis_us: list[float] = field(default_factory=list)

    @property
    def both_us(self) -> list[float]:
        """Return the CPU per claim of API and servers together."""
        return [api + redis for api, redis in zip(self.api_us, self.redis_us, strict=True)]


@dataclass
class Side:
    """One of the two: how to reach the server of a meeting, and what was measured."""

    stage: Stage
    api: Process
    port: int
    nodes: list[Node]
    client_of: Callable[[str], Any]
    found: dict[Kind, Found] = field(default_factory=lambda: {FULL: Found(), THIN: Found()})

    def load(self, bench: Bench, run: int, kind: Kind) -> Found:
        """Take back all claims, fill the pools, and load once."""
        options = bench.options
        links = int(options.sizes.links_per_second * (options.seconds + 2) / kind.meetings) + 1
        for number in range(kind.meetings):
            sid = f"m{number:05d}"
            client = self.client_of(key_names.epoch(sid))
            preload.forget_claims(client, sid)
            missing = links - preload.level(client, sid)
            if missing > 0:
                prefix = f"{256 * run + 16 * (kind is THIN) + number:04x}"
                preload.fresh_links(client, sid, missing, prefix=prefix)
        request = self.stage.request(self.port, MEETING)
        warm_up(bench, request, kind.connections, meetings=kind.meetings)
        api, servers = self._cpu()
        load = wrk(
            request,
            connections=kind.connections,
            seconds=options.seconds,
            threads=options.wrk_threads,
            meetings=kind.meetings,
        )
        api_after, servers_after = self._cpu()
        found = self.found[kind]
        found.loads.append(load)
        found.api_us.append(_US * (api_after - api) / load.requests)
        found.redis_us.append(_US * (servers_after - servers) / load.requests)
        return found

    def _cpu(self) -> tuple[float, float]:
        pids = [node.process.pid for node in self.nodes if node.process]
        return self.api.cpu_seconds(), cpu_seconds(pids)


def measure(bench: Bench) -> list[Row]:
    """Measure rate, latency and CPU per claim on both."""
    bench.needs_wrk()
    needs_cluster()
    with _one() as one, _cluster() as cluster:
        for run in range(1, bench.options.runs + 1):
            for kind in (FULL, THIN):
                ours, theirs = (side.load(bench, run, kind) for side in (one, cluster))
                bench.say(
                    f"run {run}, {kind.name} load: one {ours.loads[-1].rate:,.0f}/s at "
                    f"{ours.both_us[-1]:.1f} us of CPU a claim, cluster "
                    f"{theirs.loads[-1].rate:,.0f}/s at {theirs.both_us[-1]:.1f} us"
                )
    rows = []
    for kind in (FULL, THIN):
        rows += _rows(kind, one.found[kind], cluster.found[kind])
    return rows


def needs_cluster() -> None:
    """Raise Missing unless a Cluster can be run here."""
    if SERVER is None or CLI is None:
        raise Missing("redis-server and redis-cli are not installed (Debian: package redis-server)")


def _rows(kind: Kind, one: Found, cluster: Found) -> list[Row]:
    is_full = kind is FULL
    end = "" if is_full else ".thin"
    load = f"{kind.meetings} meetings, {kind.connections} connections"
    costs = zip(cluster.both_us, one.both_us, strict=True)
    rows = [
        Row(
            f"ratio.cpu.cluster.one{end}",
            f"CPU per claim of API and servers, three masters against one Redis ({load})",
            TIMES,
            tuple(theirs / ours for theirs, ours in costs),
            Goal(at_most=1.15) if is_full else None,
        ),
        ratio(
            f"ratio.rate.cluster.one{end}",
            f"claims/s, three masters against one Redis (2 API workers, {load})",
            [each.rate for each in cluster.loads],
            [each.rate for each in one.loads],
            Goal(at_least=0.85) if is_full else None,
        ),
    ]
    for name, found in (("one Redis", one), ("three masters", cluster)):
        short, name = name.split()[0] + end, f"{name}, {kind.name} load"
        rows += [
            Row(f"rate.{short}", f"{name}: rate", "claims/s", tuple(x.rate for x in found.loads)),
            Row(f"p99.{short}", f"{name}: p99", "ms", tuple(x.p99_ms for x in found.loads)),
            Row(f"cpu.api.{short}", f"{name}: CPU of the API", "us/claim", tuple(found.api_us)),
            Row(f"cpu.redis.{short}", f"{name}: CPU of Redis", "us/claim", tuple(found.redis_us)),
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
        open_side(stack, stage, url, _meetings())
        yield _side(stack, stage, [node], lambda _: node.client)


@contextmanager
def _cluster() -> Iterator[Side]:
    with ExitStack() as stack:
        stage = Stage()
        cluster = masters_alone(stack, stage)
        where = {
            key: cluster.master_of(key).client
            for key in (key_names.epoch(meeting.sid) for meeting in _meetings())
        }
        open_side(stack, stage, cluster.url, _meetings())
        yield _side(stack, stage, cluster.nodes, where.__getitem__)


def masters_alone(stack: ExitStack, stage: Stage) -> RedisCluster:
    """Return a Cluster of three masters without replicas, which the stack ends."""
    cluster = RedisCluster(stage.directory / "cluster", replicas=0)
    stack.callback(cluster.close)
    cluster.start()
    return cluster


def open_side(stack: ExitStack, stage: Stage, url: str, meetings: list[Meeting]) -> None:
    """Let a stage have its pools there, and open those of the meetings."""
    # The stage's own Redis is the broker.
    stage.use(REDIS_URL=url, BROKER_URL=stage.redis_server.url())
    stack.enter_context(stage)
    stage.open_meetings(meetings)


def _meetings() -> list[Meeting]:
    return [quiet_meeting(f"m{number:05d}") for number in range(FULL.meetings)]


def _side(
    stack: ExitStack, stage: Stage, nodes: list[Node], client_of: Callable[[str], Any]
) -> Side:
    api, port = stage.api(2)
    stack.enter_context(api)
    return Side(stage, api, port, nodes, client_of)
