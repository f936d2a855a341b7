"""Report to `linkpool doctor` on replicas of Redis, and on claims that were set aside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from pool.cli.findings import Finding
from pool.compose import Parts
from pool.config.addresses import redis_url
from pool.config.redis_address import parse_redis
from pool.durability.recent_claims import FAILOVER_KEPT_SECONDS, KEPT_SECONDS


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
        yield Finding(
            "redis replicas",
            "warning",
            "CONFIG is refused, so it is unknown whether a master that is cut off stops writing",
            f"Set min-replicas-to-write to 1, and min-replicas-max-lag to {longest:.0f} or less.",
        )
    elif least >= 1 and 0 < lag <= longest:
        yield Finding(
            "redis replicas", "ok", f"a master that is cut off stops writing after {lag} s"
        )
    else:
        yield Finding(
            "redis replicas",
            "warning",
            f"a master that is cut off for longer than {longest:.0f} s goes on answering claims "
            "that are forgotten when it comes back",
            f"CONFIG SET min-replicas-to-write 1 min-replicas-max-lag {longest:.0f}, and the same "
            "in its configuration file.",
        )


async def set_aside(parts: Parts) -> AsyncIterator[Finding]:
    """Yield the claims that could not be read and wait for a person."""
    for sid, entries in (await parts.store.set_aside.counts()).items():
        yield Finding(
            f"claims of {sid}",
            "warning",
            f"{entries} entries of the claims stream could not be read, and were set aside",
            "HGETALL lp:set-aside shows them; delete those you have dealt with by HDEL.",
        )
