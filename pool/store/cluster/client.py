"""Speak to a Redis Cluster by the same methods as to a single Redis."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import AskError, ClusterDownError, RedisError, TryAgainError

from pool.store.cluster.slots import slot_of
from pool.store.cluster.topology import LOST, SlotUnavailable, Topology
from pool.store.wire import Wire


class ClusterRedis(Redis):
    """A client whose every command goes to the master of its key's slot.

    Nothing is repeated but what a redirection proves not to have run.
    """

    def __init__(self, topology: Topology) -> None:
        super().__init__(connection_pool=ConnectionPool())  # of which nothing is ever used
        self.topology = topology

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command where its key is. One without a key runs on the master that has the clock.

        Raise OneMasterAway, SlotUnavailable or what the master answers.
        """

        async def send(redis: Any, _wire: Wire, is_asking: bool) -> Any:
            if is_asking:
                return await asking(redis, args, options)
            return await redis.execute_command(*args, **options)

        return await self.topology.routed(slot_of(args), send)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> ClusterPipeline:  # noqa: ARG002
        """Return a pipeline. As a transaction its keys must be in one slot."""
        return ClusterPipeline(self, transaction)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to every node."""
        await super().aclose(close_connection_pool)
        await self.topology.close()


class ClusterPipeline(Pipeline):
    """Commands that are sent together: one pipeline for each master, all at once."""

    def __init__(self, client: ClusterRedis, transaction: bool) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, None)
        self._client = client

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Return the replies in the order of the commands.

        Raise the first error, or with `raise_on_error` False return errors as replies: that one
        master is away then does not keep the replies of the others.
        """
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        if self.is_transaction:
            return await self._together(stack)
        places: dict[Any, list[int]] = {}
        replies: list[Any] = [None] * len(stack)
        for place, (args, _) in enumerate(stack):
            try:
                master = await self._client.topology.master_of(slot_of(args))
            except SlotUnavailable as error:
                replies[place] = error
            else:
                places.setdefault(master, []).append(place)

        async def run(master: Any, some: list[int]) -> None:
            pipe = master.redis.pipeline(transaction=False)
            for place in some:
                args, options = stack[place]
                pipe.execute_command(*args, **options)
            try:
                answers = await pipe.execute(raise_on_error=False)
            except LOST as error:
                answers = [self._client.topology.away(master, error)] * len(some)
            for place, answer in zip(some, answers, strict=True):
                replies[place] = answer
                if isinstance(answer, AskError | ClusterDownError | TryAgainError):
                    replies[place] = await self._again(*stack[place])

        await asyncio.gather(*(run(master, some) for master, some in places.items()))
        if raise_on_error:
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    async def _again(self, args: Any, options: Any) -> Any:
        """Run a command by itself that was not run, since its slot is elsewhere."""
        try:
            return await self._client.execute_command(*args, **options)
        except RedisError as error:
            return error

    async def _together(self, stack: list[Any]) -> list[Any]:
        async def send(redis: Redis, _wire: Wire, is_asking: bool) -> list[Any]:
            if is_asking:
                raise TryAgainError("a transaction waits until its slot has moved")
            pipe = redis.pipeline(transaction=True)
            for args, options in stack:
                pipe.execute_command(*args, **options)
            return await pipe.execute()

        return await self._client.topology.routed(slot_of(stack[0][0]), send)


async def asking(redis: Redis, args: Any, options: Any) -> Any:
    """Run a command on the node that its slot is being moved to."""
    pipe = redis.pipeline(transaction=False)
    pipe.execute_command("ASKING")
    pipe.execute_command(*args, **options)
    _, reply = await pipe.execute(raise_on_error=False)
    if isinstance(reply, Exception):
        raise reply
    return reply
