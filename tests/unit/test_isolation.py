"""Test that one bad meeting slows down no other's top-up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from pool.errors import (
    BadAnswer,
    MeetingRefused,
    PoolEmpty,
    ProviderFailed,
    Throttled,
)
from pool.store.records import Block, payload
from pool.supply.pool_writer import PoolWriter
from tests.in_process import InProcess, until
from tests.scripted_provider import FAILED, MEETING_REFUSED, WORKSPACE_REFUSED

WAYS = {
    "404": MeetingRefused("NeetoCal says 404", status=404),
    "403": MeetingRefused("NeetoCal says 403", status=403),
    "500": ProviderFailed("NeetoCal says 500", status=500),
    "HTML": BadAnswer("NeetoCal answered 200 with HTML", status=200, maybe_made=True),
    "the same link": "one-off-same",
    "429": Throttled("NeetoCal says 429", retry_after_seconds=None),
}


async def workspace_block(product: InProcess) -> Block | None:
    """Return the block of the workspace."""
    return await product.store.blocks.of_workspace("default")


@pytest.mark.parametrize("way", WAYS)
async def test_the_neighbours_of_refused_meetings_are_filled(product: InProcess, way: str) -> None:
    """They are filled in one run beside any refusal; the workspace is not blocked for it."""
    for number in range(4):
        await product.meeting(f"bad-{number}", min_fresh=20)
    for number in range(20):
        await product.meeting(f"good-{number}", min_fresh=5)
    answer = WAYS[way]
    product.provider.always(answer, *(f"bad-{number}" for number in range(4)))
    await product.top_up()
    assert await workspace_block(product) is None
    for number in range(20):
        assert len(await product.pooled(f"good-{number}")) == 5
    requests = product.provider.requests()
    assert all(requests[f"bad-{number}"] <= 10 for number in range(4))


async def test_meetings_that_hang_leave_slots_to_the_others(product: InProcess) -> None:
    """Once they are known to hang, all of them together hold a quarter of the slots.

    They hang here until the others are filled.
    """
    bad = [f"bad-{number}" for number in range(20)]
    for sid in bad:
        await product.meeting(sid, min_fresh=20)
        for _ in range(2):  # they failed twice before
            product.parts.makers["default"].troubles.failed(
                sid, "failed", final=False, meetings=None
            )
    filled, hanging = asyncio.Event(), []
    asyncio.get_running_loop().call_later(60, filled.set)  # the test then fails, and ends

    async def hang() -> Exception:
        await filled.wait()
        return FAILED

    async def made() -> None:
        if product.provider.requests()["good"] == 100:
            hanging.append(sum(sid != "good" for sid in product.provider.asked))
            filled.set()

    product.provider.always(hang, *bad)
    product.provider.always(made, "good")
    await product.meeting("good", min_fresh=100)
    await product.top_up()
    assert len(await product.pooled("good")) == 100
    assert 1 <= hanging[0] <= product.parts.settings.provider_concurrency // 4


async def test_a_request_that_hangs_keeps_nobody_from_looking(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links that are wanted meanwhile are made before it comes back."""
    monkeypatch.setattr("pool.supply.top_up.LOOK_SECONDS", 0.05)
    over = asyncio.Event()

    async def hang() -> Exception:
        await over.wait()
        return FAILED

    product.provider.always(hang, "bad")
    await product.meeting("bad", min_fresh=1)
    topping_up = asyncio.create_task(product.top_up())
    await until(lambda: product.provider.requests()["bad"] == 1)
    await product.meeting("late", min_fresh=2)
    try:
        await until(lambda: product.provider.requests()["late"] == 2)
    finally:
        over.set()
        await topping_up
    assert len(await product.pooled("late")) == 2


async def test_failures_of_one_meeting_do_not_rest_the_budget_of_the_others(
    product: InProcess,
) -> None:
    """Failures do not count once the others got links since the meeting began to fail."""
    await product.meeting("bad", min_fresh=1)
    await product.meeting("good", min_fresh=30)
    product.provider.always(FAILED, "bad")
    await product.top_up()
    await product.top_up()
    assert len(await product.pooled("good")) == 30
    before = await product.budget("failures")
    maker = product.parts.makers["default"]
    with suppress(ProviderFailed):
        await maker.make_now("bad")
    assert await product.budget("failures") == before


async def test_a_provider_that_fails_for_all_is_probed_as_one_workspace(
    product: InProcess,
) -> None:
    """The meetings are not probed one by one."""
    for number in range(30):
        await product.meeting(f"m{number}", min_fresh=5)
    product.provider.always(FAILED)
    await product.top_up()
    block = await workspace_block(product)
    assert block is not None
    assert "500" in block.reason
    assert "several" in block.reason
    assert len(product.provider.asked) <= 10 + product.parts.settings.provider_concurrency


async def test_a_workspaces_probe_does_not_go_to_the_broken_meeting_again_and_again(
    product: InProcess,
) -> None:
    """A workspace that was blocked when its key was refused: one of its meetings is broken and
    the emptiest, and the others are found to work within two probes."""
    await product.meeting("broken", min_fresh=500)
    await product.meeting("good-1", min_fresh=5)
    await product.meeting("good-2", min_fresh=5)
    product.provider.always(FAILED, "broken")
    now_ms = await product.store.now_ms()
    block: Block | None = Block("NeetoCal says 401", now_ms, now_ms - 1, "key")
    for _ in range(3):
        await product.store.blocks.put_workspace("default", block)
        await product.top_up()
        block = await workspace_block(product)
        if block is None:
            break
        block = Block(block.reason, block.since_ms, now_ms - 1, block.kind, block.probes)
    assert block is None
    await product.top_up()
    assert len(await product.pooled("good-1")) == 5
    assert len(await product.pooled("good-2")) == 5


async def test_a_key_that_is_accepted_for_a_refused_meeting_frees_the_others(
    product: InProcess,
) -> None:
    """The provider answered of the meeting, no longer of the key."""
    await product.meeting("gone", min_fresh=5)
    await product.meeting("good", min_fresh=5)
    product.provider.always(MEETING_REFUSED, "gone")
    now_ms = await product.store.now_ms()
    for probes in range(4):
        await product.store.blocks.put("gone", None)
        block = Block("NeetoCal says 401", now_ms, now_ms - 1, "key", probes)
        await product.store.blocks.put_workspace("default", block)
        await product.top_up()
        assert await workspace_block(product) is None


@pytest.mark.parametrize("at_any_time", [False, True])
async def test_many_blocked_meetings_take_few_turns(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, at_any_time: bool
) -> None:
    """All of their probes are due, and the others are filled first.

    Also where looks fall into moments in which links have entered their pool and still count as
    being made, so that it seems to be full.
    """
    put = PoolWriter.put

    async def slow(writer: PoolWriter, *link: Any) -> str:
        outcome = await put(writer, *link)
        await asyncio.sleep(0.02)
        return outcome

    if at_any_time:
        monkeypatch.setattr(PoolWriter, "put", slow)
        monkeypatch.setattr("pool.supply.top_up.LOOK_SECONDS", 0.0)
    now_ms = await product.store.now_ms()
    for number in range(40):
        await product.meeting(f"bad-{number}", min_fresh=5)
        await product.store.blocks.put(f"bad-{number}", Block("404", now_ms, now_ms - 1))
    await product.meeting("good", min_fresh=60)
    product.provider.always(MEETING_REFUSED, *(f"bad-{number}" for number in range(40)))
    await product.top_up()
    asked = product.provider.asked
    last_good = max(place for place, sid in enumerate(asked) if sid == "good")
    probes_before = sum(sid != "good" for sid in asked[:last_good])
    assert probes_before <= 60 // 10 + 2
    assert len(await product.pooled("good")) == 60


async def test_a_link_on_the_spot_is_refused_for_the_refused_meeting_alone(
    product: InProcess,
) -> None:
    """Its neighbour's customers get theirs."""
    bad, good = await product.meeting("bad"), await product.meeting("good")
    product.provider.always(MEETING_REFUSED, "bad")
    on_demand = product.on_demand()
    names = product.store.names
    with pytest.raises(PoolEmpty, match="no link"):
        await on_demand.make_and_bind(bad, names.name("bad", "ann"), payload("ann"))
    with pytest.raises(PoolEmpty, match="refuses"):
        await on_demand.make_and_bind(bad, names.name("bad", "ben"), payload("ben"))
    assert product.provider.requests()["bad"] == 1
    claim, made = await on_demand.make_and_bind(good, names.name("good", "ann"), payload("ann"))
    assert made
    assert claim.source == "direct"


async def test_links_on_the_spot_never_block_the_workspace_but_for_its_key(
    product: InProcess,
) -> None:
    """They are asked for where pools are empty, which is where something is wrong."""
    on_demand, names = product.on_demand(), product.store.names
    for number in range(12):
        meeting = await product.meeting(f"bad-{number}")
        product.provider.always(MEETING_REFUSED, meeting.sid)
        with pytest.raises(PoolEmpty):
            await on_demand.make_and_bind(meeting, names.name(meeting.sid, "ann"), payload("ann"))
    assert await workspace_block(product) is None
    good = await product.meeting("good")
    product.provider.always(WORKSPACE_REFUSED, "good")
    with pytest.raises(PoolEmpty):
        await on_demand.make_and_bind(good, names.name("good", "ann"), payload("ann"))
    assert await workspace_block(product) is not None


async def test_a_pool_that_takes_no_links_does_not_end_the_run_of_the_others(
    product: InProcess,
) -> None:
    """Its fence fell while a link was made; its links are set aside, theirs come in."""
    await product.meeting("fallen", min_fresh=50)
    await product.meeting("good", min_fresh=50)

    async def fall() -> None:
        await product.redis.bare.delete("lp:{fallen}:epoch")

    product.provider.will("fallen", fall)
    product.provider.seconds = 0.002
    await product.top_up()
    assert len(await product.pooled("good")) == 50
