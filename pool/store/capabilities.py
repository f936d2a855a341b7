"""Find out which commands a Redis refuses, before they are needed.

Managed servers rename commands, and allow users only some of them. A command that is first refused
when it is needed looks like a fallen fence or an outage that never ends.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from pool.errors import SettingsError, StoreUnavailable
from pool.store import scripts
from pool.store.cluster.client import ClusterRedis
from pool.store.cluster.topology import Master
from pool.store.connect import OUTAGE
from pool.store.first_contact import connected

# What each command is for, where its name does not say it.
_PURPOSES = {
    "INFO": "INFO shows that Redis lost data, without which a link could reach two customers",
    "EVAL": "all claims are scripts",
    "EVALSHA": "all claims are scripts",
    "SCRIPT|LOAD": "all claims are scripts",
}
_SIMPLE = ("PING", "TIME", "INFO", "SCRIPT|LOAD", "EVALSHA", "EVAL")
_DATA = """
    SET GET MGET EXISTS PEXPIRE EXPIREAT INCRBY APPEND UNLINK DEL
    HSET HSETNX HINCRBY HGET HMGET HGETALL HKEYS HSCAN HDEL SADD SMEMBERS SREM
    RPUSH LPUSH LLEN LINDEX LREM LTRIM RPOP
    ZADD ZCARD ZCOUNT ZMSCORE ZRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZREM
    XADD XLEN XRANGE XREVRANGE XTRIM XDEL
"""
# Celery's transport also needs these; a part that only sends hints needs fewer.
_BROKER = "BRPOP MULTI EXEC DISCARD WATCH UNWATCH PUBLISH"
_SENDING = """
    PING LPUSH SADD SMEMBERS SREM LLEN EXISTS MULTI EXEC DISCARD WATCH UNWATCH PUBLISH
    ZADD ZREM HSET HGET HDEL
"""
# Used where they are allowed: a database other than 0, doctor's look at replicas, and erasing
# from the append-only file at once.
_OPTIONAL = "SELECT CONFIG|GET BGREWRITEAOF"
# What a Redis Cluster needs beside: where the slots are, whether all have a master, and how to
# ask for a key that is being moved.
_CLUSTERED = "CLUSTER|SLOTS CLUSTER|INFO ASKING"
_CLUSTER = "is a Redis Cluster; write its address as redis+cluster://host:6379,host:6379"
_SENTINEL = "is a Sentinel; write its address as redis+sentinel://host:26379/service"
_refusal = re.compile(r"NOPERM|permission|can't run this command|unknown.*command", re.IGNORECASE)


async def check_redis(url: str) -> None:
    """Raise SettingsError if the Redis at `url` cannot hold the pools.

    It refuses the connection for good, is no Cluster or is one where the address says otherwise,
    evicts keys, or refuses a command that linkpool needs. Of a Cluster every master is asked.
    Raise StoreUnavailable if it does not answer.
    """
    setting = "LINKPOOL_REDIS_URL"
    async with connected(url, setting) as redis:
        if not isinstance(redis, ClusterRedis):
            try:
                info = await _check_one(redis, "probe", setting)
            except (AskError, ClusterDownError):  # of which MOVED is one
                raise SettingsError(setting, _CLUSTER) from None
            if info.get("redis_mode") == "cluster":
                raise SettingsError(setting, _CLUSTER)
            return
        topology = redis.topology
        try:
            masters = await topology.masters()
        except RedisError as error:
            if refuses(error):
                raise SettingsError(setting, problem_of(["CLUSTER|SLOTS"])) from None
            raise
        for master in masters:
            await _check_one(master.redis, tag_on(master, topology.serving), setting)


def tag_on(master: Master, serving: Callable[[int], Master | None]) -> str:
    """Return a hash tag whose keys lie on this master of a Cluster."""
    tags = (f"probe-{number}" for number in itertools.count())
    return next(tag for tag in tags if serving(key_slot(tag.encode())) is master)


async def _check_one(redis: Redis, tag: str, setting: str) -> Mapping[str, Any]:
    """Return the server's INFO if its commands and its memory are as needed."""
    probe = scripts.source("probe")
    keys = [f"lp:{{{tag}}}:{kind}" for kind in ("s", "h", "m", "l", "z", "x")]
    replies = await _ask(
        redis,
        ("PING",),
        ("TIME",),
        ("INFO",),
        ("SCRIPT LOAD", probe),
        ("EVALSHA", scripts.sha1("probe"), len(keys), *keys),
        ("EVAL", probe, len(keys), *keys),
    )
    if isinstance(replies[2], Mapping) and replies[2].get("redis_mode") == "sentinel":
        raise SettingsError(setting, _SENTINEL)
    refused = [name for name, reply in zip(_SIMPLE, replies, strict=True) if refuses(reply)]
    probed = next((each for each in replies[4:] if isinstance(each, list)), [])
    texts = [part.decode(errors="replace") for part in probed]
    for name, text in zip(texts[::2], texts[1::2], strict=True):
        if name not in refused and _refusal.search(text):
            refused.append(name)
    if refused:
        raise SettingsError(setting, problem_of(refused))
    info: Mapping[str, Any] = replies[2]
    if reason := evicts(info):
        raise SettingsError(setting, reason)
    for text in texts[1::2]:  # a replica, a full memory or disk: it may pass, but looks well
        if OUTAGE.search(text):
            raise StoreUnavailable(f"Redis cannot be written to: {text[:100]}", is_outage=True)
    return info


async def _ask(redis: Redis, *commands: tuple[Any, ...]) -> list[Any]:
    """Return the replies, among them refusals as errors."""
    pipe = redis.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    replies: list[Any] = await pipe.execute(raise_on_error=False)
    for reply in replies:
        # Without SCRIPT LOAD, which is refused then, the script is unknown.
        unknown = isinstance(reply, NoScriptError)
        if isinstance(reply, Exception) and not refuses(reply) and not unknown:
            raise reply
    return replies


def acl(prefix: str = "lp:*") -> list[str]:
    """Return an ACL rule for each part of linkpool, with PASSWORD where its password belongs."""
    whole = sorted({*_SIMPLE, *f"{_DATA} {_BROKER} {_OPTIONAL} {_CLUSTERED}".split()})
    keys = f"~{prefix} &lp:broker:*"
    return [
        f"ACL SETUSER linkpool-{role} on >PASSWORD {keys} -@all {_grants(commands)}"
        for role, commands in (
            ("api", whole),
            ("worker", whole),
            ("beat", sorted([*_SENDING.split(), "SELECT"])),
        )
    ]


def _grants(commands: Sequence[str]) -> str:
    return " ".join(f"+{name.lower()}" for name in commands)


def refuses(reply: object) -> bool:
    return isinstance(reply, NoPermissionError) or (
        isinstance(reply, ResponseError) and _refusal.search(str(reply)) is not None
    )


def problem_of(refused: Sequence[str]) -> str:
    purposes = [_PURPOSES[name] for name in refused if name in _PURPOSES][:1]
    because = f" ({purposes[0]})" if purposes else ""
    return (
        f"its user may not run {', '.join(refused)}, or this server does not know it{because}; "
        f"grant {_grants(refused)} on the keys lp:*; `linkpool doctor --acl` prints whole rules"
    )


def evicts(info: Mapping[str, Any]) -> str:
    """Return why claims could be lost to a full Redis, by its INFO, or nothing if they cannot."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction" or info.get("maxmemory") == 0:
        return ""
    return (
        f"Redis evicts keys (maxmemory-policy {policy}), which would lose claims; "
        "set maxmemory-policy to noeviction"
    )
