"""The claim script's own connections: one write and one read a call, and nothing between.

The library connects (TLS, passwords, sockets, failover) and then hands its transport over;
from then on its layers are not passed through any more. Those cost three times what the
call itself takes, which is most of what a claim on an idle server waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError, RedisError

Told = Callable[[Any], None]  # called with a reply, or the error instead of it; must not raise
Abandon = Callable[[], None]  # nobody waits for the reply any more


class Wire:
    """Calls a Redis over as many connections as there are calls under way."""

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._idle: list[_Line] = []
        self._busy: set[_Line] = set()

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """What a script answers that Redis knows already; as `call`."""
        return await self.call("EVALSHA", sha, numkeys, *keys_and_args)

    async def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """What a script answers; as `call`."""
        return await self.call("EVAL", script, numkeys, *keys_and_args)

    async def call(self, *command: Any) -> Any:
        """The reply to one command, sent once. Raises RedisError, and OSError.

        Whoever stops waiting closes the connection: its reply could be taken for another's.
        """
        line = self._take() or await self._open()
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def told(reply: Any) -> None:
            if not answered.done():
                answered.set_result(reply)

        self._send(line, command, told)
        try:
            reply = await answered
        except BaseException:
            line.close()
            raise
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def call_at_once(self, command: tuple[Any, ...], told: Told) -> Abandon | None:
        """Sends a command if a connection stands ready, and waits for nothing; None if none does.

        The reply, or the error instead of it, is told once, unless the call is abandoned before.
        """
        line = self._take()
        if line is None:
            return None
        try:
            self._send(line, command, told)
        except RedisConnectionError:
            return None
        return line.close

    def _send(self, line: _Line, command: tuple[Any, ...], told: Told) -> None:
        self._busy.add(line)
        try:
            line.ask(command, told)
        except BaseException:
            line.close()
            raise

    def _freed(self, line: _Line) -> None:
        self._busy.discard(line)
        if not line.lost:
            self._idle.append(line)

    def close(self) -> None:
        """Closes all connections; who still waits for a reply is told that it is lost."""
        for line in [*self._idle, *self._busy]:
            line.end(RedisConnectionError("connection closed"))
        self._idle.clear()

    def _take(self) -> _Line | None:
        while self._idle:
            if not (line := self._idle.pop()).lost:
                return line
        return None

    async def _open(self) -> _Line:
        connection: Any = self._pool.make_connection()  # type: ignore[no-untyped-call]
        # In a task of its own: within the library a cancellation can get lost (`asyncio.wait_for`
        # of Python 3.11 loses it when what it waits for is done by then), and whoever stops
        # waiting is not to wait for a Redis that says nothing.
        opening = asyncio.create_task(connection.connect())
        try:
            await asyncio.wait([opening])
            opening.result()
            return _Line(connection, self._freed)
        except RuntimeError as error:
            _close(connection, opening)
            raise _lost(error) from error
        except BaseException:
            opening.cancel()
            opening.add_done_callback(lambda _: _close(connection, opening))
            raise


def _close(connection: Any, opening: asyncio.Task[None]) -> None:
    if not opening.cancelled():
        opening.exception()  # has been raised, or interests nobody any more
    connection._close()


def _lost(error: RuntimeError) -> RedisConnectionError:
    """The event loop's word for a connection that has ended, before anybody was told so."""
    return RedisConnectionError(f"connection lost: {error}")


class _Line(asyncio.Protocol):
    """One connection, and the one reply that is waited for on it."""

    def __init__(self, connection: Any, freed: Callable[[_Line], None]) -> None:
        # The library has no word for handing a connection over: `_writer`, `_parser` and
        # `_close` are its own (seen with 6 to 8), and nothing else here depends on them.
        self._connection = connection
        self._transport: asyncio.Transport = connection._writer.transport
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error
        )
        self._freed = freed
        self._told: Told | None = None
        self.lost = False
        self._transport.set_protocol(self)

    def ask(self, command: tuple[Any, ...], told: Told) -> None:
        """Sends the command; its reply is to come. If that raises, nothing was sent."""
        packed = hiredis.pack_command(command)
        self._told = told
        try:
            self._transport.write(packed)
        except RuntimeError as error:
            raise _lost(error) from error

    def close(self) -> None:
        """Closes the connection; nobody is told its reply any more."""
        self.lost, self._told = True, None
        self._freed(self)
        self._transport.abort()
        self._connection._close()

    def end(self, error: Exception) -> None:
        """Closes the connection; who waits for a reply is told the error."""
        told, self._told = self._told, None
        self.close()
        if told is not None:
            told(error)

    # -- the transport's side

    def data_received(self, data: bytes) -> None:
        """Called with what was read from the socket."""
        self._reader.feed(data)
        try:
            reply = self._reader.gets()
        except InvalidResponse as error:
            self.end(error)
            return
        if reply is False:
            return
        if self._told is None:  # nobody asked: whatever this is, no later reply can be trusted
            self.close()
        elif isinstance(reply, ReadOnlyError):
            # A master that has become a replica: who connects anew finds the new one.
            self.end(RedisConnectionError(str(reply)))
        else:
            told, self._told = self._told, None
            self._freed(self)
            told(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Called once when the connection is gone."""
        self.end(RedisConnectionError(f"connection lost: {error or 'closed'}"))
