"""Report to `linkpool doctor` on Redis and its replicas, and on claims that were set aside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from pool.cli.findings import Finding, failed, ok, warning
from pool.compose import Parts
from pool.config.addresses import redis_url
from pool.config.redis_address import parse_redis
from pool.durability.recent_claims import FAILOVER_KEPT_SECONDS, KEPT_SECONDS
from pool.store.capabilities import evicts

OLDEST_REDIS = (6, 2)


def of_server(info: Mapping[str, Any], where: str) -> Iterator[Finding]:
    """Yield findings from the INFO of a server that holds pools; `where` names that server."""
    text = str(info.get("redis_version", "0"))
    kind = "Valkey" if "valkey_version" in info else "Redis"
    if tuple(int(part) for part in text.split(".")[:2]) < OLDEST_REDIS:
        yield failed("redis", f"{kind} {text} is too old", "Use 6.2 or newer.")
    else:
        # Valkey calls itself a Redis 7.2 for clients, besides its own version.
        own = info.get("valkey_version", text)
        yield ok("redis", f"{kind} {own} answers{where}")
    if reason := evicts(info):
        yield failed(
            "redis memory",
            reason,
            "CONFIG SET maxmemory-policy noeviction, and in its configuration file.",
        )
    else:
        yield ok("redis memory", f"never evicts keys{where}")
    if info.get("aof_enabled"):
        yield ok("redis persistence", f"append-only file is on{where}")
    else:
        yield warning(
            "redis persistence",
            f"the append-only file is off{where}: a restart loses every fresh link",
            "Set appendonly yes, and appendfsync everysec or always.",
        )


async def cluster(parts: Parts) -> AsyncIterator[Finding]:
    """Yield whether the Cluster's settings limit the harm of a master that is cut off or lost.

    A master that is cut off stops writing after cluster-node-timeout, in which API processes must
    still remember what they answered (pool/durability/recent_claims.py).
    """
    stops_seconds, all_stop = await parts.store.cluster_habits()
    if stops_seconds is None:
        yield warning(
            "redis cluster",
            "CONFIG is refused, so it is unknown when a master that is cut off stops writing",
            f"Keep cluster-node-timeout below {FAILOVER_KEPT_SECONDS:.0f} s.",
        )
        return
    if stops_seconds > FAILOVER_KEPT_SECONDS:
        yield warning(
            "redis cluster",
            f"a master that is cut off answers claims for {stops_seconds:.0f} s, longer than "
            f"linkpool remembers them ({FAILOVER_KEPT_SECONDS:.0f} s)",
            "Set cluster-node-timeout to 15000 or less on every node.",
        )
    elif all_stop:
        yield warning(
            "redis cluster",
            "while one master is away, all refuse claims",
            "Set cluster-require-full-coverage no on every node.",
        )
    else:
        yield ok(
            "redis cluster",
            f"a master that is cut off stops writing after {stops_seconds:g} s; others serve on",
        )


async def replicas(parts: Parts, info: Mapping[str, Any]) -> AsyncIterator[Finding]:
    """Yield whether a partition can lose claims that an old master answers while it is cut off.

    API processes assert again what they answered in the last seconds
    (pool/durability/recent_claims.py). A master that refuses writes once its replicas are out of
    reach for no longer than that loses nothing.
    """
    with_sentinels = parse_redis(redis_url(parts.settings)).has_sentinels
    if not with_sentinels and not int(info.get("connected_slaves", 0)):
        return
    least, lag = await parts.store.replicas_to_write()
    longest = FAILOVER_KEPT_SECONDS if with_sentinels else KEPT_SECONDS
    if least is None or lag is None:
        yield warning(
            "redis replicas",
            "CONFIG is refused, so it is unknown whether a master that is cut off stops writing",
            f"Set min-replicas-to-write to 1, and min-replicas-max-lag to {longest:.0f} or less.",
        )
    elif least >= 1 and 0 < lag <= longest:
        yield ok("redis replicas", f"a master that is cut off stops writing after {lag} s")
    else:
        yield warning(
            "redis replicas",
            f"a master that is cut off for longer than {longest:.0f} s goes on answering claims "
            "that are forgotten when it comes back",
            f"CONFIG SET min-replicas-to-write 1 min-replicas-max-lag {longest:.0f}, and the same "
            "in its configuration file.",
        )


async def set_aside(parts: Parts) -> AsyncIterator[Finding]:
    """Yield the claims that could not be read and wait for a person."""
    for sid, entries in (await parts.store.set_aside.counts()).items():
        yield warning(
            f"claims of {sid}",
            f"{entries} entries of the claims stream could not be read, and were set aside",
            "HGETALL lp:set-aside shows them; delete those you have dealt with by HDEL.",
        )
