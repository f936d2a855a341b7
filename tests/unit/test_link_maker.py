"""Test making one link: what the provider answers is heeded by all who ask it."""

from __future__ import annotations

import asyncio

import pytest

from pool.errors import (
    BadAnswer,
    MeetingRefused,
    ProviderFailed,
    StoreUnavailable,
    Throttled,
    WorkspaceRefused,
)
from pool.supply.blame import FAILURES_TO_BLOCK
from pool.supply.link_maker import LinkMaker
from tests.in_process import UNPACED, InProcess, until
from tests.scripted_provider import (
    FAILED,
    LOST,
    MEETING_REFUSED,
    THROTTLED,
    WORKSPACE_REFUSED,
)


def maker(product: InProcess) -> LinkMaker:
    return product.parts.makers["default"]


async def pause_seconds(product: InProcess) -> float | None:
    """Return how long the budget makes the next request wait, or None if over ten minutes."""
    return await product.store.budget.take("default", first_rate=UNPACED, within_seconds=700)


async def test_a_link_is_made_as_the_provider_gave_it(product: InProcess) -> None:
    """A request that succeeds is reported to the budget."""
    new = await maker(product).make_now("intro")
    assert [new] == product.provider.made
    assert await product.budget("good") > 0
    assert await product.budget("failures") == 0


async def test_without_a_turn_nothing_is_asked(product: InProcess) -> None:
    """A budget that is used up for longer than the caller waits gives None, and no request."""
    product.provider.will("intro", THROTTLED)
    with pytest.raises(Throttled):
        await maker(product).make("intro", within_seconds=1)
    assert await maker(product).make("intro", within_seconds=1) is None
    assert product.provider.asked == ["intro"]


@pytest.mark.parametrize("product", [{"provider_rate": 20.0}], indirect=True)
async def test_a_turn_is_waited_for(product: InProcess) -> None:
    """Requests start as far apart as the budget says."""
    began = asyncio.get_running_loop().time()
    for _ in range(5):
        assert await maker(product).make("intro", within_seconds=2) is not None
    assert asyncio.get_running_loop().time() - began > 0.08


@pytest.mark.parametrize(
    ("asked_for", "at_least", "at_most"),
    [(7.0, 6, 7.1), (120.0, 118, 120.1), (1e9, 595, 600.1), (None, 0, 6)],
)
async def test_retry_after_is_kept_to_the_second(
    product: InProcess, asked_for: float | None, at_least: float, at_most: float
) -> None:
    """Every process that shares the budget keeps it, up to ten minutes, for any value of the
    provider.
    """
    product.provider.will("intro", Throttled("429", retry_after_seconds=asked_for))
    with pytest.raises(Throttled):
        await maker(product).make_now("intro")
    wait = await pause_seconds(product)
    assert wait is not None
    assert at_least <= wait <= at_most
    assert await product.budget("bad") >= 0.9


async def test_a_429_blocks_nothing(product: InProcess) -> None:
    """It says when to come back; nobody has to look."""
    await product.meeting("intro")
    product.provider.always(THROTTLED)
    for _ in range(FAILURES_TO_BLOCK + 1):
        with pytest.raises(Throttled):
            await maker(product).make_now("intro")
    assert await product.store.blocks.of_workspace("default") is None
    assert (await product.level("intro")).block is None


async def test_a_refused_key_blocks_the_workspace(product: InProcess) -> None:
    """The block has the provider's reason and the time, and is probed after `probe_seconds`."""
    product.provider.will("intro", WORKSPACE_REFUSED)
    with pytest.raises(WorkspaceRefused):
        await maker(product).make_now("intro")
    block = await product.store.blocks.of_workspace("default")
    assert block is not None
    assert block.reason == str(WORKSPACE_REFUSED)
    now_ms = await product.store.now_ms()
    assert now_ms - 2_000 < block.since_ms <= now_ms
    wait = block.probe_at_ms - block.since_ms
    assert wait >= 0.9 * 1_000 * product.parts.settings.probe_seconds
    assert not block.is_probe_due(now_ms, product.parts.settings.probe_seconds)


async def test_a_refused_meeting_blocks_itself_alone(product: InProcess) -> None:
    """Its workspace goes on."""
    await product.meeting("bad")
    await product.meeting("good")
    product.provider.always(MEETING_REFUSED, "bad")
    with pytest.raises(MeetingRefused):
        await maker(product).make_now("bad")
    block = (await product.level("bad")).block
    assert block is not None
    assert block.reason == str(MEETING_REFUSED)
    assert (await product.level("good")).block is None
    assert await product.store.blocks.of_workspace("default") is None


async def anything_blocked(product: InProcess, sid: str) -> bool:
    """Return True if the meeting or its workspace is blocked."""
    workspace = await product.store.blocks.of_workspace("default")
    return workspace is not None or (await product.level(sid)).block is not None


async def test_failures_in_a_row_lead_to_a_block(product: InProcess) -> None:
    """One failure fewer leads to no block; from then on the provider is probed."""
    await product.meeting("intro")
    product.provider.always(FAILED)
    for number in range(FAILURES_TO_BLOCK):
        assert not await anything_blocked(product, "intro"), number
        with pytest.raises(ProviderFailed):
            await maker(product).make_now("intro")
    assert await anything_blocked(product, "intro")


@pytest.mark.parametrize("meetings", [1, 16])
async def test_requests_that_fail_together_block_nothing_until_a_later_one_fails(
    product: InProcess, meetings: int
) -> None:
    """A provider may close the connections that were idle while a pool was recovered.

    All requests under way are lost at once then, and the next one works.
    """
    sids = [f"m{number}" for number in range(meetings)]
    for sid in sids:
        await product.meeting(sid)
    product.provider.always(LOST)
    product.provider.gate = asyncio.Event()
    under_way = [
        asyncio.create_task(maker(product).make_now(sids[number % meetings], meetings=meetings))
        for number in range(16)
    ]
    await until(lambda: product.provider.under_way == 16)
    product.provider.gate.set()
    lost = await asyncio.gather(*under_way, return_exceptions=True)
    assert all(isinstance(each, ProviderFailed) for each in lost)
    for sid in sids:
        assert (await product.level(sid)).block is None
    assert await product.store.blocks.of_workspace("default") is None
    with pytest.raises(ProviderFailed):
        await maker(product).make_now("m0", meetings=meetings)
    blocked = await product.store.blocks.of_workspace("default") is not None
    assert blocked or (await product.level("m0")).block is not None


async def test_a_success_between_failures_starts_the_count_anew(product: InProcess) -> None:
    """Bad luck now and then is no outage."""
    await product.meeting("intro")
    for _ in range(3):
        product.provider.will("intro", *[FAILED] * (FAILURES_TO_BLOCK - 1), None)
    for _ in range(3 * FAILURES_TO_BLOCK):
        try:
            await maker(product).make_now("intro")
        except ProviderFailed:
            continue
        await maker(product).received("intro", is_new=True)
    assert not await anything_blocked(product, "intro")


async def test_failures_reach_the_budget(product: InProcess) -> None:
    """Several in a row make all requests pause."""
    product.provider.always(FAILED)
    for _ in range(4):
        with pytest.raises(ProviderFailed):
            await maker(product).make_now("intro")
    assert await product.budget("failures") == 4
    wait = await pause_seconds(product)
    assert wait is not None
    assert wait > 0.3


async def test_every_refusal_is_counted_by_its_kind(product: InProcess) -> None:
    """A link that may have been made all the same is counted as lost."""
    steps = [FAILED, LOST, THROTTLED, MEETING_REFUSED, WORKSPACE_REFUSED, BadAnswer("?")]
    product.provider.will("intro", *steps)
    for step in steps:
        with pytest.raises(type(step)):
            await maker(product).make_now("intro")
    counted = {
        outcome: product.counted("intro", outcome)
        for outcome in ("failed", "lost", "throttled", "refused", "bad-answer")
    }
    assert counted == {
        "failed": 2, "lost": 1, "throttled": 1, "refused": 2, "bad-answer": 1,
    }  # fmt: skip


async def test_repeated_links_in_a_row_block_the_meeting(product: InProcess) -> None:
    """A new one between them starts the count anew; other meetings are counted apart."""
    await product.meeting("intro")
    await product.meeting("other")
    makes = maker(product)
    for _ in range(FAILURES_TO_BLOCK - 1):
        await makes.received("intro", is_new=False)
        await makes.received("other", is_new=False)
    assert (await product.level("intro")).block is None
    await makes.received("other", is_new=True)
    await makes.received("other", is_new=False)
    await makes.received("intro", is_new=False)
    assert (await product.level("intro")).block is not None
    assert (await product.level("other")).block is None
    assert await product.store.blocks.of_workspace("default") is None


async def test_a_request_is_made_once(product: InProcess) -> None:
    """The provider's call is not idempotent: after any outcome, nobody repeats it here."""
    for step in (FAILED, LOST, THROTTLED):
        product.provider.will("intro", step)
        with pytest.raises(type(step)):
            await maker(product).make_now("intro")
    assert len(product.provider.asked) == 3


async def test_without_redis_no_request_is_made(product: InProcess, fake_server: object) -> None:
    """Only Redis knows if a request is allowed."""
    fake_server.reachable = False  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable):
        await maker(product).make("intro", within_seconds=1)
    fake_server.reachable = True  # type: ignore[attr-defined]
    assert product.provider.asked == []
