"""Hold a fake Redis to the history's contract."""

from __future__ import annotations

import pytest

from tests.any_redis import AnyRedis
from tests.unit.history_contract import *  # noqa: F403 - the contract's tests


@pytest.fixture
def any_redis(fake_redis: AnyRedis) -> AnyRedis:
    """Return the Redis that the contract is about."""
    return fake_redis
