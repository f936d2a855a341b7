"""Hold a Redis Cluster to the contract of the store and of recovery.

In place of a restart, the meeting's slot moves to another master with all its keys: that takes
milliseconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.any_redis import AnyRedis
from tests.cluster_stage import any_cluster
from tests.disturbed_cluster import DisturbedCluster
from tests.unit.store_contract import *  # noqa: F403 - the contract's tests
from tests.unit.store_replay_contract import *  # noqa: F403 - the contract's tests
from tests.unit.store_upkeep_contract import *  # noqa: F403 - the contract's tests


@pytest.fixture
async def any_redis(masters_alone: DisturbedCluster) -> AsyncIterator[AnyRedis]:
    """Return the Redis that the contract is about."""
    async with any_cluster(masters_alone) as redis:
        yield redis
