"""Run Redis in the test's own process: fakeredis, and what linkpool needs besides.

fakeredis knows no INFO; this adds the two sections that the fence reads, with an identity
that a test can change, so that a failover is one line.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from types import SimpleNamespace
from typing import Any

from fakeredis import FakeServer
from fakeredis import _helpers as fake_helpers
from fakeredis._commands import command
from fakeredis._helpers import SimpleError
from fakeredis.aioredis import FakeRedis
from fakeredis.commands_mixins import scripting_mixin, server_mixin
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from pool.store import scripts
from pool.store.cluster.slots import slot_of

_numbers = itertools.count(1)


_STRANGERS = b"""
return function(known)
    return function()
        for name in next, _G do
            if not known[name] then return true end
        end
        return false
    end
end
"""


class _QuickLua:
    """A Lua that compiles each script once, and collects its garbage when it sees fit.

    fakeredis compiles a script and collects all garbage for each call, which takes half its time.
    """

    def __init__(self, lua: Any) -> None:
        self._lua = lua
        self._compiled: dict[Any, Any] = {}
        self._strange: Any = None

    def execute(self, script: Any) -> Any:
        if script == "collectgarbage()":
            return None
        if script not in self._compiled:
            self._compiled[script] = self._lua.compile(script)
        return self._compiled[script]()

    def has_strangers(self, expected: set[Any]) -> bool:
        """Return True if a global variable is set that is not one of these."""
        if self._strange is None:
            known = self._lua.table_from(dict.fromkeys(expected, True))
            self._strange = self._lua.execute(_STRANGERS)(known)
        return bool(self._strange())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lua, name)


_refuse_strangers = scripting_mixin._check_for_lua_globals


def _look_for_strangers(lua: _QuickLua, expected: set[Any]) -> None:
    """Refuse global variables that a script has set.

    fakeredis itself copies all of them out of Lua to see that, at each call of each script.
    """
    if lua.has_strangers(expected):
        _refuse_strangers(lua, expected)


scripting_mixin._check_for_lua_globals = _look_for_strangers


class FakeServerWithInfo(FakeServer):
    """A server that answers INFO with an identity."""

    run_id: str
    master_replid: str

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _QuickLua(value) if name == "_lua_runtime" else value)


@command(name="INFO", fixed=(), repeat=(bytes,))
def _info(socket: Any, *sections: bytes) -> bytes:
    server = socket._server
    known = {
        b"server": f"# Server\r\nredis_version:7.0.0\r\nrun_id:{server.run_id}\r\n",
        b"replication": f"# Replication\r\nrole:master\r\nmaster_replid:{server.master_replid}\r\n",
    }
    if not set(sections) <= set(known):
        raise SimpleError("ERR this section is not known here")
    return "".join(known[section] for section in sections or known).encode()


server_mixin.ServerCommandsMixin._info = _info


# The scripts that look at many pools at once on a single Redis, and at each by itself on a Cluster.
_OVER_MANY = frozenset(scripts.sha1(name) for name in ("look", "fences"))


def _keys_of(command: Sequence[Any]) -> list[str]:
    """Return the keys that must be in one slot of a Redis Cluster for this command."""
    name = command[0]
    if name in ("EVAL", "EVALSHA"):
        over_many = command[1] in _OVER_MANY or command[1] in map(scripts.source, ("fences",))
        return [] if over_many else list(command[3 : 3 + int(command[2])])
    if name in ("MGET", "DEL", "UNLINK", "EXISTS"):
        return list(command[1:])
    return [command[1]] if len(command) > 1 and name not in ("SCRIPT LOAD", "CONFIG GET") else []


def _in_one_slot(keys: Sequence[str]) -> None:
    slots = {slot_of(("GET", key)) for key in keys}
    assert len(slots) <= 1, f"on a Redis Cluster these keys are on several masters: {keys}"


class _ClusterPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run the commands, each of which must do on a Cluster, and together if they are one."""
        keys = [_keys_of(args) for args, _ in self.command_stack]
        for some in [list(chain(*keys))] if self.is_transaction else keys:
            _in_one_slot(some)
        return await super().execute(raise_on_error)


class FakeRedisOfStore(FakeRedis):
    """A client that refuses commands which a Redis Cluster could not run."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command whose keys are in one slot."""
        _in_one_slot(_keys_of(args))
        return await super().execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Return a pipeline of such commands."""
        return _ClusterPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )


class FakeRedisServer:
    """One server with any number of clients. Its data outlive a change of identity."""

    def __init__(self) -> None:
        self._server = FakeServerWithInfo(version=(7,))
        self.restart()

    def client(self) -> Redis:
        """Return a client that retries nothing, like the product's own."""
        return FakeRedis(server=self._server, retry=Retry(NoBackoff(), 0))

    def client_of_store(self) -> Redis:
        """Return a client for a store, which refuses what a Redis Cluster could not run."""
        return FakeRedisOfStore(server=self._server, retry=Retry(NoBackoff(), 0))

    def restart(self) -> None:
        """Change the run_id, as a new process that holds the same data would."""
        self._server.run_id = f"{next(_numbers):040x}"
        self.fail_back()

    def fail_back(self) -> None:
        """Change the master_replid alone, as the same process does when it is master again."""
        self._server.master_replid = f"{next(_numbers):040x}"

    @property
    def reachable(self) -> bool:
        """Return True if it takes commands; set it to cut all connections."""
        return self._server.connected

    @reachable.setter
    def reachable(self, value: bool) -> None:
        self._server.connected = value


class FakeClock:
    """The clock that TIME answers and keys expire by, once `stopped()` is entered."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @contextmanager
    def stopped(self) -> Iterator[FakeClock]:
        """Make this clock's time the fake server's, within the block."""
        clock = SimpleNamespace(time=lambda: self.now)
        server_mixin.time = fake_helpers.time = clock
        try:
            yield self
        finally:
            server_mixin.time = fake_helpers.time = time
