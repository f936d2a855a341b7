"""The history's contract on a fake Redis."""

from __future__ import annotations

import pytest

from tests.any_redis import AnyRedis
from tests.unit.history_contract import *  # noqa: F403 - the contract's tests


@pytest.fixture
def any_redis(fake_redis: AnyRedis) -> AnyRedis:
    """The contract is about this Redis."""
    return fake_redis
