"""Find the slot of a Redis Cluster that holds a command's keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from redis.crc import key_slot

from pool.store import key_names

# Commands without a key are for one master, the same for all processes: it keeps their clock.
_KEYLESS = key_slot(key_names.HEARTBEAT.encode())
_SCRIPTS = frozenset(("EVAL", "EVALSHA"))
_WITHOUT_KEYS = frozenset(("PING", "TIME", "INFO"))


def slot_of(command: Sequence[Any]) -> int:
    """Return the slot of a command's first key. The server refuses keys of several slots."""
    name = command[0]
    if name in _SCRIPTS:
        key = command[3]
    elif name in _WITHOUT_KEYS:
        return _KEYLESS
    else:
        key = command[1]
    return key_slot(key.encode() if isinstance(key, str) else key)


@lru_cache(maxsize=20_000)  # asked for at each claim; 3 MB
def slot_of_pool(pool: str) -> int:
    """Return the slot that holds a pool's keys."""
    return key_slot(key_names.epoch(pool).encode())
