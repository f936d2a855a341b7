"""Call scripts on a Redis Cluster over connections of our own, a wire to each master."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis

from pool.store.cluster.client import ClusterRedis, asking
from pool.store.cluster.slots import slot_of, slot_of_pool
from pool.store.wire import Abandon, OnReply, Wire


class ClusterWire:
    """The wires to all masters, with the methods of one."""

    def __init__(self, redis: ClusterRedis) -> None:
        self._redis = redis
        self._topology = redis.topology
        self._together: set[Wire] | None = None  # those that hold calls, within `together`

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script that its master knows already and return its reply, as `call` does."""
        return await self.call("EVALSHA", sha, numkeys, *keys_and_args)

    async def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script and return its reply, as `call` does."""
        return await self.call("EVAL", script, numkeys, *keys_and_args)

    async def call(self, *command: Any) -> Any:
        """Send a command to the master of its slot, and follow it if the slot has moved.

        Raise RedisError or OSError. A caller that is cancelled closes the connection.
        """

        async def send(redis: Redis, wire: Wire, is_asking: bool) -> Any:
            return await (asking(redis, command, {}) if is_asking else wire.call(*command))

        return await self._topology.routed(slot_of(command), send)

    def call_at_once(self, command: tuple[Any, ...], on_reply: OnReply) -> Abandon | None:
        """Send a command as `Wire.call_at_once` does, to the master that is known for its slot.

        A redirection is passed to `on_reply`: `call` follows it.
        """
        master = self._topology.serving(slot_of(command))
        if master is None:
            return None
        wire = master.wire
        if self._together is not None and wire not in self._together:
            self._together.add(wire)
            wire.begin_together()
        return wire.call_at_once(command, on_reply)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send what is called at once within the block in one write to each master.

        A call that is abandoned takes the others to its master with it, as `Wire.together` says.
        """
        together: set[Wire] = set()
        self._together = together
        try:
            yield
        finally:
            self._together = None
            for wire in together:
                wire.end_together()

    def master_of(self, pool: str) -> object:
        """Return a value that identifies the master of a pool, or None while it is not known."""
        master = self._topology.serving(slot_of_pool(pool))
        return None if master is None else master.address

    def close(self) -> None:
        """Close nothing: the wires end together with the client of the Cluster."""
