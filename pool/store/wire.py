"""Call Redis over connections of our own: one write and one read per call, nothing in between.

The library connects (TLS, passwords, sockets, failover) and then hands its transport over; from
then on calls bypass its layers. Those layers take three times as long as the call itself, which is
most of the time that a claim takes on an idle server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError, RedisError

OnReply = Callable[[Any], None]  # takes a reply, or the error instead of it; must not raise
Abandon = Callable[[], None]  # gives up waiting for the reply


class Wire:
    """Connections to one Redis, one for each call under way."""

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._idle: list[_Line] = []
        self._busy: set[_Line] = set()
        self.has_slots = False  # one address, behind which keys have slots, as a server has said
        self._is_together = False
        self._shared: _Line | None = None  # collects the calls of a `together` block

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script that Redis knows already and return its reply, as `call` does."""
        return await self.call("EVALSHA", sha, numkeys, *keys_and_args)

    async def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script and return its reply, as `call` does."""
        return await self.call("EVAL", script, numkeys, *keys_and_args)

    async def call(self, *command: Any) -> Any:
        """Send one command once and return its reply. Raise RedisError or OSError.

        A caller that is cancelled closes the connection, since the reply that is still to come
        could be taken for that of a later call.
        """
        line = self._take() or await self._open()
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_reply(reply: Any) -> None:
            if not answered.done():
                answered.set_result(reply)

        self._send(line, command, on_reply)
        try:
            reply = await answered
        except BaseException:
            line.close()
            raise
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def call_at_once(self, command: tuple[Any, ...], on_reply: OnReply) -> Abandon | None:
        """Send a command without waiting, or return None if no connection is ready.

        `on_reply` is called once with the reply, or the error instead of it, unless the call is
        abandoned first by the function that is returned.
        """
        line = self._shared
        if line is not None and not line.lost:
            line.hold(command, on_reply)
            return partial(line.abandon, on_reply)
        line = self._take()
        if line is None:
            return None
        if self._is_together:
            return self._share(line, command, on_reply)
        try:
            self._send(line, command, on_reply)
        except RedisConnectionError:
            return None
        return line.close

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send what is called at once within the block on one connection, in one write.

        Redis answers the calls in their order, and mostly in one write as well. A call that is
        abandoned takes the others with it, which end as with a lost connection.
        """
        self.begin_together()
        try:
            yield
        finally:
            self.end_together()

    def begin_together(self) -> None:
        """Hold what is called at once, until `end_together`."""
        self._is_together = True

    def end_together(self) -> None:
        """Send what was held since `begin_together`."""
        self._is_together = False
        line, self._shared = self._shared, None
        if line is not None:
            line.flush()

    def _share(self, line: _Line, command: tuple[Any, ...], on_reply: OnReply) -> Abandon:
        self._busy.add(line)
        try:
            line.hold(command, on_reply)
        except BaseException:
            line.close()
            raise
        self._shared = line
        return partial(line.abandon, on_reply)

    def _send(self, line: _Line, command: tuple[Any, ...], on_reply: OnReply) -> None:
        self._busy.add(line)
        try:
            line.ask(command, on_reply)
        except BaseException:
            line.close()
            raise

    def _freed(self, line: _Line) -> None:
        self._busy.discard(line)
        if not line.lost:
            self._idle.append(line)

    def close(self) -> None:
        """Close all connections. Calls under way end with a connection error."""
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
        # of Python 3.11 loses it when what it waits for is done by then), and a cancelled caller
        # must not wait for a Redis that does not answer.
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
        opening.exception()  # retrieved: it was raised already, or its caller is gone
    connection._close()


def _lost(error: RuntimeError) -> RedisConnectionError:
    """Return the error for a connection that the event loop has found closed."""
    return RedisConnectionError(f"connection lost: {error}")


class _Line(asyncio.Protocol):
    """One connection, and the replies that are awaited on it: one, unless calls go together."""

    def __init__(self, connection: Any, freed: Callable[[_Line], None]) -> None:
        # The library has no public way to hand a connection over: `_writer`, `_parser` and
        # `_close` are private to it (seen with 6 to 8), and nothing else here depends on them.
        self._connection = connection
        self._transport: asyncio.Transport = connection._writer.transport
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error
        )
        self._freed = freed
        self._on_reply: OnReply | None = None  # for the reply that comes next
        self._behind: deque[OnReply] = deque()  # for those after it
        self._held: list[bytes] = []  # commands that are to be sent together
        self.lost = False
        self._transport.set_protocol(self)

    def ask(self, command: tuple[Any, ...], on_reply: OnReply) -> None:
        """Send the command, whose reply `on_reply` will get. If this raises, nothing was sent."""
        packed = hiredis.pack_command(command)
        self._on_reply = on_reply
        try:
            self._transport.write(packed)
        except RuntimeError as error:
            raise _lost(error) from error

    def hold(self, command: tuple[Any, ...], on_reply: OnReply) -> None:
        """Keep a command for `flush`. If this raises, it is not kept."""
        self._held.append(hiredis.pack_command(command))
        if self._on_reply is None:
            self._on_reply = on_reply
        else:
            self._behind.append(on_reply)

    def flush(self) -> None:
        """Send the commands that are held, unless the connection was lost since."""
        held, self._held = self._held, []
        if self.lost:
            return
        try:
            self._transport.write(b"".join(held))
        except RuntimeError as error:
            self.end(_lost(error))

    def abandon(self, on_reply: OnReply) -> None:
        """Close the connection, drop this reply, and pass an error to those who wait for others."""
        others = [each for each in self._awaited() if each is not on_reply]
        self.close()
        for each in others:
            each(RedisConnectionError("connection closed: another call on it took too long"))

    def _awaited(self) -> list[OnReply]:
        return [] if self._on_reply is None else [self._on_reply, *self._behind]

    def close(self) -> None:
        """Close the connection, and drop the replies that are still to come."""
        self.lost, self._on_reply = True, None
        self._behind.clear()
        self._freed(self)
        self._transport.abort()
        self._connection._close()

    def end(self, error: Exception) -> None:
        """Close the connection, and pass the error to the callers that wait for a reply."""
        awaited = self._awaited()
        self.close()
        for on_reply in awaited:
            on_reply(error)

    # -- the transport's side

    def data_received(self, data: bytes) -> None:
        """Take what was read from the socket. The transport calls this."""
        self._reader.feed(data)
        while True:
            try:
                reply = self._reader.gets()
            except InvalidResponse as error:
                self.end(error)
                return
            if reply is False:
                return
            on_reply = self._on_reply
            if on_reply is None:  # no command was sent, so no later reply can be trusted
                self.close()
                return
            if isinstance(reply, ReadOnlyError):
                # The master has become a replica: a new connection finds the new master.
                self.end(RedisConnectionError(str(reply)))
                return
            if not self._behind:
                self._on_reply = None
                self._freed(self)
                on_reply(reply)
                return
            self._on_reply = self._behind.popleft()
            on_reply(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """End the call under way. The transport calls this once, when the connection is gone."""
        self.end(RedisConnectionError(f"connection lost: {error or 'closed'}"))
