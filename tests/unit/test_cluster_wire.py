"""Test which calls share a write on a Redis Cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from redis.crc import key_slot

from pool.store.cluster.client import ClusterRedis
from pool.store.cluster.wire import ClusterWire


class _Wire:
    """A master's wire, which notes its calls."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def begin_together(self) -> None:
        """Note it."""
        self.seen.append("begin")

    def end_together(self) -> None:
        """Note it."""
        self.seen.append("end")

    def call_at_once(self, command: tuple[Any, ...], _: Any) -> object:
        """Note the command's key."""
        self.seen.append(command[1])
        return print


def test_calls_that_go_together_share_a_write_to_each_master() -> None:
    """A master without a call is left out, and afterwards each call is sent alone."""
    masters = [SimpleNamespace(wire=_Wire()) for _ in range(3)]
    at = {key_slot(key): masters[number] for key, number in ((b"a", 0), (b"b", 1), (b"c", 0))}
    topology = SimpleNamespace(serving=at.get)
    wire = ClusterWire(cast("ClusterRedis", SimpleNamespace(topology=topology)))
    with wire.together():
        for key in "abc":
            assert wire.call_at_once(("GET", key), print)
        assert wire.call_at_once(("GET", "nowhere"), print) is None
    assert wire.call_at_once(("GET", "a"), print)
    assert [master.wire.seen for master in masters] == [
        ["begin", "a", "c", "end", "a"],
        ["begin", "b", "end"],
        [],
    ]
