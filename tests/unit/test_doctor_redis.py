"""Test what `linkpool doctor` says about replicas of Redis, which may forget claims."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pool.cli.doctor_redis import of_server, replicas, set_aside
from pool.compose import Parts
from pool.config.settings import Settings
from pool.store import key_names
from tests.any_redis import AnyRedis
from tests.in_process import InProcess

ALONE = "redis://127.0.0.1:1/0"
SENTINELS = "redis+sentinel://127.0.0.1:1/mymaster/0"
NONE, REFUSED = (0, 10), (None, None)


@pytest.mark.parametrize(
    ("url", "connected", "configured", "verdict", "says"),
    [
        (ALONE, 0, NONE, "", ""),
        (ALONE, 1, REFUSED, "warning", "CONFIG is refused"),
        (ALONE, 1, NONE, "warning", "longer than 10 s"),
        (ALONE, 1, (1, 10), "ok", "after 10 s"),
        (ALONE, 1, (2, 1), "ok", "after 1 s"),
        (ALONE, 1, (1, 11), "warning", "longer than 10 s"),
        (ALONE, 1, (1, 0), "warning", "longer than 10 s"),  # 0 turns the check off
        (SENTINELS, 0, NONE, "warning", "longer than 30 s"),
        (SENTINELS, 0, (1, 30), "ok", "after 30 s"),
        (SENTINELS, 2, (1, 31), "warning", "longer than 30 s"),
    ],
)
async def test_a_master_that_goes_on_alone_is_warned_of(
    url: str, connected: int, configured: tuple[int | None, int | None], verdict: str, says: str
) -> None:
    """It is one that may answer for longer than API processes remember their answers."""

    async def replicas_to_write() -> tuple[int | None, int | None]:
        return configured

    store = SimpleNamespace(replicas_to_write=replicas_to_write)
    settings = Settings(redis_url=url)
    parts = cast(Parts, SimpleNamespace(settings=settings, store=store))
    info: dict[str, Any] = {"connected_slaves": connected}
    found = [each async for each in replicas(parts, info)]
    assert [each.verdict for each in found] == ([verdict] if verdict else [])
    if verdict:
        [finding] = found
        assert says in finding.text
        assert ("min-replicas-to-write" in finding.to_do) == (verdict == "warning")
        if verdict == "warning":
            assert ("30" if url == SENTINELS else "10") in finding.to_do


async def test_a_redis_that_does_not_say_says_none(fake_redis: AnyRedis) -> None:
    """Many hosted ones refuse CONFIG."""
    assert await fake_redis.store.replicas_to_write() == (None, None)


async def test_claims_that_were_set_aside_are_shown(product: InProcess) -> None:
    """Each meeting is shown with their number."""
    await product.meeting("intro")
    assert [each async for each in set_aside(product.parts)] == []
    anything: Any = {b"x": b"1"}
    for _ in range(2):
        await product.redis.bare.xadd(key_names.claims("intro"), anything)
    await product.parts.recorder.record("intro")
    [finding] = [each async for each in set_aside(product.parts)]
    assert (finding.what, finding.verdict) == ("claims of intro", "warning")
    assert finding.text.startswith("2 entries")


def test_valkey_is_named_by_its_own_version() -> None:
    """It calls itself Redis 7.2 besides, whatever its own version is."""
    info = {"maxmemory": 0, "aof_enabled": 1, "redis_version": "7.2.4"}
    assert next(of_server(info | {"valkey_version": "9.1.0"}, "")).text == "Valkey 9.1.0 answers"
    assert next(of_server(info, "")).text == "Redis 7.2.4 answers"
    assert next(of_server(info | {"redis_version": "6.0.16"}, "")).verdict == "failed"
