"""The history's contract on a real Redis server."""

from __future__ import annotations

import pytest

from tests.any_redis import AnyRedis
from tests.unit.history_contract import *  # noqa: F403 - the contract's tests


@pytest.fixture
def any_redis(real_redis: AnyRedis) -> AnyRedis:
    """The contract is about this Redis."""
    return real_redis
