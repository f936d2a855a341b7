"""Test recovery on a fake Redis."""

from __future__ import annotations

import pytest

from tests.any_redis import AnyRedis
from tests.unit.recorder_contract import *  # noqa: F403 - the contract's tests
from tests.unit.recovery_contract import *  # noqa: F403
from tests.unit.recovery_disturbed_contract import *  # noqa: F403
from tests.unit.recovery_stage import *  # noqa: F403


@pytest.fixture
def any_redis(fake_redis: AnyRedis) -> AnyRedis:
    """Return the Redis that the contract is about."""
    return fake_redis
