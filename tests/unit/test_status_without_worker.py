"""Test that a pool says so if no worker has ever filled it."""

from __future__ import annotations

from pool.operations.status import statuses
from tests.in_process import InProcess

NEVER = "no worker has ever run"


async def test_an_empty_pool_says_that_no_worker_has_ever_run(product: InProcess) -> None:
    """Claims may be answered all the same, each with a link made on the spot."""
    meeting = await product.meeting("one")
    [status] = await statuses(product.store, None, [meeting])
    assert status.state == "empty"
    assert status.reason.startswith(NEVER)
    await product.store.heartbeat(1_000)
    [status] = await statuses(product.store, None, [meeting])
    assert NEVER not in status.reason


async def test_a_pool_that_has_links_keeps_its_reason(product: InProcess) -> None:
    meeting = await product.meeting("one")
    epoch = (await product.store.look(["one"]))[0].epoch
    await product.store.add("one", epoch, [f"one-off-{n}" for n in range(3)], 1_000)
    [status] = await statuses(product.store, None, [meeting])
    assert NEVER not in status.reason
