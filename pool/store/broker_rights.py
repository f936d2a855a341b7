"""Find out what a Redis does not let Celery do as its broker, before a task waits in vain."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from pool.config.redis_address import NO_BROKER
from pool.errors import SettingsError
from pool.store import key_names
from pool.store.capabilities import problem_of, refuses
from pool.store.first_contact import connected

_MOMENT_SECONDS = 0.1  # for a BRPOP, should the key be gone


async def check_broker(
    url: str, setting: str = "LINKPOOL_BROKER_URL", *, works: bool = False
) -> None:
    """Raise SettingsError if the Redis at `url` cannot be this process's broker.

    It refuses the connection for good, is a node of a Redis Cluster, or refuses a command that a
    process which sends, or one that `works`, needs on the broker's keys. The error names `setting`.
    Raise StoreUnavailable if it does not answer.
    """
    key = f"{key_names.BROKER}probe-{secrets.token_hex(8)}"
    commands = [("PING",), ("INFO",), *_trials(f"{key}:", works=works)]
    async with connected(url, setting) as redis:
        pipe = redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        refused = [
            str(command[0])
            for command, reply in zip(commands, replies, strict=True)
            # What INFO says is of use, but not needed.
            if refuses(reply) and command[0] != "INFO"
        ]
        info = replies[1]
        if isinstance(info, Mapping) and info.get("redis_mode") == "cluster":
            raise SettingsError(setting, f"names a node of a Redis Cluster, {NO_BROKER}")
        if refused:
            raise SettingsError(setting, problem_of(list(dict.fromkeys(refused))))
        for reply in replies:
            if (
                isinstance(reply, Exception)
                and not refuses(reply)
                and "WRONGTYPE" not in str(reply)
            ):
                raise reply  # by a replica, or one that is full


def _trials(key: str, *, works: bool) -> list[tuple[Any, ...]]:
    """Return what kombu's transport runs, on keys of which nothing is left.

    What is for a list is tried on a set: that it is of the wrong type shows that it is allowed.
    """
    kept = f"{key}set"
    received: list[tuple[Any, ...]] = [
        ("BRPOP", kept, _MOMENT_SECONDS),
        ("HSET", f"{key}hash", "x", "x"),
        ("HGET", f"{key}hash", "x"),
        ("HDEL", f"{key}hash", "x"),
        ("ZADD", f"{key}zset", 0, "x"),
        ("ZRANGE", f"{key}zset", 0, 0),
        ("ZREM", f"{key}zset", "x"),
    ]
    return [
        ("SADD", kept, "x"),
        ("SMEMBERS", kept),
        ("EXISTS", kept),
        ("LPUSH", kept, "x"),
        ("LLEN", kept),
        *(received if works else []),
        ("SREM", kept, "x"),
        ("MULTI",),
        ("EXEC",),
    ]
