"""Measure one hot meeting on a Redis Cluster of three masters: in one pool, and in three.

What bounds a hot meeting is the master that works most for it. On few cores three masters, API and
load share the CPU, so that the rate cannot grow as on machines of their own. What can be
measured is how much CPU the busiest master spends on a claim: a core of it carries so many of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from bench import preload
from bench.loads.wrk import Load, wrk
from bench.measures.base import Bench, warm_up
from bench.measures.cluster import masters_alone, needs_cluster, open_side
from bench.processes import cpu_seconds
from bench.redis_cluster import MASTERS, RedisCluster
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting
from pool.model.pools import pool_names
from pool.store import key_names

CONNECTIONS = 192  # for each pool: fewer would make smaller batches, which cost more
ALONE = "hot"
_US = 1e6


@dataclass
class _Found:
    loads: list[Load] = field(default_factory=list)
    busiest_us: list[float] = field(default_factory=list)  # CPU per claim of the busiest master
    all_us: list[float] = field(default_factory=list)  # and of all masters


def measure(bench: Bench) -> list[Row]:
    """Measure both in turn: rate, and the CPU that a claim costs the masters."""
    bench.needs_wrk()
    needs_cluster()
    found = {1: _Found(), MASTERS: _Found()}
    with ExitStack() as stack:
        stage = Stage()
        cluster = masters_alone(stack, stage)
        sids = {1: ALONE, MASTERS: _spread_sid(cluster)}
        open_side(
            stack,
            stage,
            cluster.url,
            [quiet_meeting(sid, shards=shards) for shards, sid in sids.items()],
        )
        api, port = stage.api(2)
        stack.enter_context(api)
        for run in range(1, bench.options.runs + 1):
            for shards, sid in sids.items():
                _load(bench, stage, cluster, port, sid, shards, run, found[shards])
                last = found[shards]
                bench.say(
                    f"run {run}, shards: {shards}: {last.loads[-1].rate:,.0f}/s, busiest master "
                    f"{last.busiest_us[-1]:.1f} us of CPU a claim, all {last.all_us[-1]:.1f}"
                )
    one, three = found.values()
    rows = [
        ratio(
            "ratio.carries.shards",
            "claims/s that the busiest master's core would carry, three shards against one",
            one.busiest_us,
            three.busiest_us,
            Goal(at_least=2.0),
        ),
        ratio(
            "ratio.rate.shards",
            f"claims/s here, three shards against one ({CONNECTIONS} connections a pool)",
            [load.rate for load in three.loads],
            [load.rate for load in one.loads],
        ),
    ]
    for shards, each in found.items():
        end, title = f"shards-{shards}", f"shards: {shards}"
        rates = tuple(load.rate for load in each.loads)
        core = tuple(_US / spent for spent in each.busiest_us)
        rows += [
            Row(f"rate.{end}", f"{title}: rate here", "claims/s", rates),
            Row(f"carries.{end}", f"{title}: a core of the busiest carries", "claims/s", core),
            Row(
                f"cpu.busiest.{end}", f"{title}: busiest master", "us/claim", tuple(each.busiest_us)
            ),
            Row(f"cpu.all.{end}", f"{title}: all masters", "us/claim", tuple(each.all_us)),
        ]
    return rows


def _load(
    bench: Bench,
    stage: Stage,
    cluster: RedisCluster,
    port: int,
    sid: str,
    shards: int,
    run: int,
    found: _Found,
) -> None:
    options = bench.options
    links = int(options.sizes.links_per_second * (options.seconds + 2) / shards) + 1
    for number, pool in enumerate(pool_names(sid, shards)):
        client = cluster.master_of(key_names.epoch(pool)).client
        preload.forget_claims(client, pool)
        missing = links - preload.level(client, pool)
        if missing > 0:
            prefix = f"{256 * run + 16 * shards + number:04x}"
            preload.fresh_links(client, pool, missing, prefix=prefix)
    request = stage.request(port, sid)
    warm_up(bench, request, CONNECTIONS * shards)
    before = _cpu(cluster)
    load = wrk(
        request,
        connections=CONNECTIONS * shards,
        seconds=options.seconds,
        threads=options.wrk_threads,
    )
    spent = [
        _US * (after - first) / load.requests
        for first, after in zip(before, _cpu(cluster), strict=True)
    ]
    found.loads.append(load)
    found.busiest_us.append(max(spent))
    found.all_us.append(sum(spent))


def _cpu(cluster: RedisCluster) -> list[float]:
    return [cpu_seconds([node.process.pid]) for node in cluster.nodes if node.process]


def _spread_sid(cluster: RedisCluster) -> str:
    """Return a SID whose shards lie on all masters."""
    number = 0
    while True:
        sid = f"spread{number}"
        pools = pool_names(sid, MASTERS)
        if len({cluster.master_of(key_names.epoch(pool)).port for pool in pools}) == MASTERS:
            return sid
        number += 1
