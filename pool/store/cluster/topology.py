"""Know which master of a Redis Cluster serves which slot, and reach it.

Redis-py's own RedisCluster is not used: it sends ASKING on another connection than the command
it is meant for, closes every connection, also of commands under way, when one node says that the
cluster is down, and repeats commands (seen with 8.1). Each node is reached by redis-py's client
for a single Redis instead.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pool.store.wire import Wire

T = TypeVar("T")
LOOK_SECONDS = 0.2  # between two looks at the slots, at least
_REDIRECTIONS = 5  # in a row; then a command is given up
LOST = (RedisConnectionError, RedisTimeoutError, OSError)


class OneMasterAway(RedisConnectionError):
    """One master does not answer. This concerns the meetings whose slots it serves."""


class SlotUnavailable(RedisError):
    """One slot is being moved, or nobody serves it. This concerns the meetings in it."""


class Master:
    """One node of the Cluster, and the connections to it."""

    def __init__(self, address: tuple[str, int], redis: Redis) -> None:
        self.address = address
        self.redis = redis
        self.wire = Wire(redis)

    async def close(self) -> None:
        """Close all connections to this node."""
        self.wire.close()
        # A client does not close a pool that was passed to it unless asked to.
        await self.redis.aclose(close_connection_pool=True)


class Topology:
    """The masters and their slots, as the nodes of the Cluster tell them.

    `open_node` returns a client of the node at a host and port, which connects when first used.
    """

    def __init__(
        self, seeds: Sequence[tuple[str, int]], open_node: Callable[[str, int], Redis]
    ) -> None:
        self._open_node = open_node
        self._nodes: dict[tuple[str, int], Master] = {}
        self._seeds = list(seeds)
        self._slots: list[Master | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._is_due = True  # the slots should be looked at before the next call
        self._looked_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._suspect: tuple[str, int] | None = None  # the node that broke a connection last

    def serving(self, slot: int) -> Master | None:
        """Return the master that is known to serve a slot, or None if none is known."""
        return self._slots[slot]

    async def master_of(self, slot: int) -> Master:
        """Return the master that serves a slot. Raise SlotUnavailable if there is none."""
        if self._is_due or self._slots[slot] is None:
            await self._look()
        master = self._slots[slot]
        if master is None:
            raise SlotUnavailable(f"no master of the Redis Cluster serves slot {slot}")
        return master

    async def masters(self) -> list[Master]:
        """Return every master that serves slots, as they are now."""
        await self._look()
        return list(dict.fromkeys(master for master in self._slots if master is not None))

    def suspect(self, master: Master) -> None:
        """Note that a call to this node failed, so that its slots may be elsewhere by now."""
        self._suspect = master.address
        self._is_due = True

    def moved(self, error: MovedError, asked: Master) -> None:
        """Note what a node said of a slot that it does not serve itself."""
        self._slots[error.slot_id] = self.node(error.host or asked.address[0], error.port)
        self._is_due = True

    async def routed(self, slot: int, send: Callable[[Redis, Wire, bool], Awaitable[T]]) -> T:
        """Send a command to the master of its slot, and follow it if the slot has moved.

        A redirection means that nothing was run, so sending again repeats nothing. `send` is
        called with True if ASKING must stand before the command, on the same connection. Raise
        OneMasterAway, SlotUnavailable or what `send` raises.
        """
        for _ in range(_REDIRECTIONS):
            master = await self.master_of(slot)
            try:
                return await send(master.redis, master.wire, False)
            except MovedError as moved:
                self.moved(moved, master)
            except AskError as ask:
                asked = self.node(ask.host or master.address[0], ask.port)
                try:
                    return await send(asked.redis, asked.wire, True)
                except (MovedError, TryAgainError):
                    raise SlotUnavailable(f"slot {slot} is being moved") from None
                except LOST as error:
                    raise self.away(asked, error) from error
            except TryAgainError:
                raise SlotUnavailable(f"slot {slot} is being moved") from None
            except ClusterDownError as error:
                # A master says this of itself after it was cut off, and goes on saying so although
                # another may serve by now. It also says so in its first two seconds, although all
                # others serve.
                self.suspect(master)
                if await self.master_of(slot) is master:
                    raise SlotUnavailable(f"slot {slot} is not served: {error}") from None
            except LOST as error:
                raise self.away(master, error) from error
        raise SlotUnavailable(f"slot {slot} moves on and on")

    def away(self, master: Master, error: Exception) -> OneMasterAway:
        """Return the error for a call to this master that failed with its connection."""
        self.suspect(master)
        host, port = master.address
        reason = str(error) or type(error).__name__
        return OneMasterAway(f"the master at {host}:{port} does not answer ({reason})")

    async def close(self) -> None:
        """Close the connections to every node."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for node in self._nodes.values():
            await node.close()

    # -- looking at the slots ------------------------------------------------------

    async def _look(self) -> None:
        """Learn the slots anew, unless that was done a moment ago. Callers share one look."""
        if self._looking is None or self._looking.done():
            if self._looked_at and time.monotonic() < self._looked_at + LOOK_SECONDS:
                return
            # In a task of its own: a caller that is cancelled must not take it from the others.
            self._looking = asyncio.create_task(self._learn())
            self._looking.add_done_callback(_retrieve)
        looking = self._looking
        await asyncio.wait([looking])
        looking.result()

    async def _learn(self) -> None:
        problem: Exception = RedisConnectionError("no node of the Redis Cluster is known")
        nodes = list(dict.fromkeys([*self._nodes, *self._seeds]))
        random.shuffle(nodes)
        nodes.sort(key=lambda address: address == self._suspect)  # that one last
        for address in nodes:
            node = self.node(*address)
            try:
                # Sent as two words: for the command in one, the library parses the reply by itself.
                rows: Any = await _raw(node.redis, "CLUSTER", "SLOTS")
            except (*LOST, ResponseError) as error:
                problem = error
                continue
            if rows:
                await self._take(rows, address[0])
                return
            problem = SlotUnavailable("no slot of the Redis Cluster has a master")
        raise problem

    async def _take(self, rows: Sequence[Any], asked_host: str) -> None:
        slots: list[Master | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        listed = set()
        for first, last, *nodes in rows:
            found = []
            for host, port, *_ in nodes:
                # A node that does not know by which name it is reached leaves the host out.
                name = host.decode() if host not in (None, b"", b"?") else asked_host
                found.append((name, int(port)))
            listed.update(found)
            slots[first : last + 1] = [self.node(*found[0])] * (last + 1 - first)
        self._slots = slots
        self._is_due, self._looked_at = False, time.monotonic()
        for gone in [address for address in self._nodes if address not in listed]:
            await self._nodes.pop(gone).close()

    def node(self, host: str, port: int) -> Master:
        """Return the node at an address."""
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[host, port] = Master((host, port), self._open_node(host, port))
        return node


async def _raw(redis: Any, *command: str) -> Any:
    return await redis.execute_command(*command)


def _retrieve(looking: asyncio.Task[None]) -> None:
    """Retrieve the result of a look, since every caller of it may have been cancelled."""
    if not looking.cancelled():
        looking.exception()
