"""Name the pools of a meeting: one, or one for each of its shards. No I/O.

The pool of a meeting with one shard has the meeting's SID for a name. With several, a pool is named
`sid:shard/shards`. Since the name says of how many shards the pool is one, pools of another number
of shards are other pools with other keys: a process that does not know of a change yet finds a
closed pool, never one in which its customer holds another link.
"""

from __future__ import annotations

import re
from binascii import a2b_base64

SHARDS_MOST = 64
_MARKED = re.compile(r":(\d+/\d+)-[0-9a-f]+$")
_CHARACTERS = 8  # of a customer's name, which are 48 bits


def pool_names(sid: str, shards: int) -> tuple[str, ...]:
    """Return the names of the pools of a meeting with this number of shards."""
    if shards == 1:
        return (sid,)
    return tuple(f"{sid}:{shard}/{shards}" for shard in range(shards))


def sid_of(pool: str) -> str:
    """Return the SID of a pool's meeting."""
    return pool.partition(":")[0]


def shards_of(pool: str) -> int:
    """Return the number of shards that a pool's name states."""
    return int(pool.rpartition("/")[2]) if ":" in pool else 1


def shard_of(customer_name: str, shards: int) -> int:
    """Return the shard of a customer, whose name is a keyed hash in base64."""
    return int.from_bytes(a2b_base64(customer_name[:_CHARACTERS])) % shards


def pool_of(sid: str, shards: int, customer_name: str) -> str:
    """Return the name of the pool that serves a customer."""
    return sid if shards == 1 else f"{sid}:{shard_of(customer_name, shards)}/{shards}"


def serves(pool: str, customer_name: str) -> bool:
    """Return True if this pool serves the customer, among the pools of its number of shards."""
    return pool == pool_of(sid_of(pool), shards_of(pool), customer_name)


def nonce_of(pool: str, token: str) -> str:
    """Return the last part of an epoch of this pool, which tells it from all other epochs."""
    mark = pool.partition(":")[2]
    return f"{mark}-{token}" if mark else token


def pool_of_epoch(sid: str, epoch: str) -> str:
    """Return the name of the meeting's pool that was opened with this epoch."""
    marked = _MARKED.search(epoch)
    return f"{sid}:{marked[1]}" if marked else sid
