"""Test pipelines on a Redis Cluster of which a part is away."""

from __future__ import annotations

import pytest
from fakeredis import FakeAsyncRedis

from pool.store.cluster.client import ClusterRedis
from pool.store.cluster.slots import slot_of
from pool.store.cluster.topology import Master, SlotUnavailable, Topology

UNSERVED = slot_of(("GET", "{gone}"))


class OneMaster(Topology):
    """All slots but one are served by one node."""

    def __init__(self) -> None:
        super().__init__([], lambda _host, _port: FakeAsyncRedis())
        self.master = Master(("127.0.0.1", 1), FakeAsyncRedis())

    async def master_of(self, slot: int) -> Master:
        """Return the node, unless nobody serves the slot."""
        if slot == UNSERVED:
            raise SlotUnavailable(f"slot {slot}")
        return self.master


async def test_a_slot_that_nobody_serves_keeps_no_reply_from_the_others() -> None:
    """The master of that slot was lost without a replica."""
    topology = OneMaster()
    await topology.master.redis.set("{here}", "1")
    redis = ClusterRedis(topology)
    for raising in (False, True):
        pipe = redis.pipeline(transaction=False)
        pipe.get("{here}")
        pipe.get("{gone}")
        pipe.get("{here}")
        if raising:
            with pytest.raises(SlotUnavailable):
                await pipe.execute()
        else:
            first, gone, last = await pipe.execute(raise_on_error=False)
            assert (first, last) == (b"1", b"1")
            assert isinstance(gone, SlotUnavailable)
    await topology.master.close()
