"""Hold recovery on a Redis Cluster to its contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.any_redis import AnyRedis
from tests.cluster_stage import any_cluster
from tests.disturbed_cluster import DisturbedCluster
from tests.unit.recorder_contract import *  # noqa: F403 - the contract's tests
from tests.unit.recovery_contract import *  # noqa: F403
from tests.unit.recovery_disturbed_contract import *  # noqa: F403
from tests.unit.recovery_stage import *  # noqa: F403


@pytest.fixture
async def any_redis(masters_alone: DisturbedCluster) -> AsyncIterator[AnyRedis]:
    """Return the Redis that the contract is about."""
    async with any_cluster(masters_alone) as redis:
        yield redis
