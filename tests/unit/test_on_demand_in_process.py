"""Test an empty pool: one link for one customer, or a typed error that says when to return."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pool.claims.on_demand import AT_ONCE, OnDemandLinks
from pool.errors import Fenced, LedgerUnavailable, PoolEmpty, PoolPaused
from pool.model.links import Claim, State
from pool.model.meetings import Meeting
from pool.store.records import Block, payload
from tests.in_process import InProcess, until
from tests.scripted_provider import FAILED, MEETING_REFUSED, THROTTLED, WORKSPACE_REFUSED


async def make_and_bind(
    product: InProcess, meeting: Meeting, who: str, on_demand: OnDemandLinks | None = None
) -> tuple[Claim, bool]:
    name = product.store.names.name(meeting.sid, who)
    return await (on_demand or product.on_demand()).make_and_bind(
        meeting, name, payload(who, f"{who}@b.example")
    )


async def test_a_link_is_made_bound_and_written_down(product: InProcess) -> None:
    """The ledger has its row as fresh and `direct`, Redis the binding, the stream the claim."""
    meeting = await product.meeting("intro")
    claim, made = await make_and_bind(product, meeting, "ann")
    assert made
    assert claim.slug == product.provider.made[0].slug
    assert (claim.source, claim.state) == ("direct", "claimed")
    row = await product.ledger.links.get(claim.slug)
    assert row is not None
    level = await product.level("intro")
    assert (row.state, row.source, row.meeting_sid, row.epoch, row.url) == (
        State.FRESH, "direct", "intro", level.epoch, product.provider.made[0].url,
    )  # fmt: skip
    assert await product.store.claim_of("intro", "ann") == claim
    assert level.backlog == 1
    await product.parts.recorder.record("intro")
    row = await product.ledger.links.get(claim.slug)
    assert row is not None
    assert (row.state, row.customer_id, row.email) == (State.CLAIMED, "ann", "ann@b.example")


async def test_a_link_that_the_provider_repeats_is_bound_to_nobody_else(
    product: InProcess,
) -> None:
    """One link, two customers: the second is answered that there is none."""
    meeting = await product.meeting("intro")
    first, _ = await make_and_bind(product, meeting, "ann")
    product.provider.will("intro", first.slug)
    with pytest.raises(PoolEmpty):
        await make_and_bind(product, meeting, "ben")
    assert await product.store.claim_of("intro", "ben") is None
    assert await product.store.claim_of("intro", "ann") == first


async def test_a_link_that_stands_in_another_pool_is_bound_to_nobody(product: InProcess) -> None:
    """A customer who gets it from its own pool must be its only one."""
    await product.meeting("demo")
    await product.stock("demo", "one-off-demo")
    meeting = await product.meeting("intro")
    product.provider.will("intro", "one-off-demo")
    with pytest.raises(PoolEmpty):
        await make_and_bind(product, meeting, "ben")
    assert await product.store.claim_of("intro", "ben") is None
    assert await product.claim("demo", "ann") == ["one-off-demo"]


async def test_links_that_are_repeated_lead_to_a_block(product: InProcess) -> None:
    """Repeated links met by the on-demand path lead to a block, too; new ones do not."""
    meeting = await product.meeting("intro")
    for number in range(9):
        await make_and_bind(product, meeting, f"early-{number}")
    assert (await product.level("intro")).block is None
    product.provider.always(product.provider.made[0].slug)
    for number in range(8):
        with pytest.raises(PoolEmpty):
            await make_and_bind(product, meeting, f"late-{number}")
    assert (await product.level("intro")).block is not None
    asked = len(product.provider.asked)
    with pytest.raises(PoolEmpty):
        await make_and_bind(product, meeting, "zoe")
    assert len(product.provider.asked) == asked


async def test_requests_of_one_customer_share_one_link(product: InProcess) -> None:
    """One of them made it, the others hold its copy."""
    meeting = await product.meeting("intro")
    product.provider.seconds = 0.02
    on_demand = product.on_demand()
    came = await asyncio.gather(
        *(make_and_bind(product, meeting, "ann", on_demand) for _ in range(5))
    )
    assert len({claim.slug for claim, _ in came}) == 1
    assert [made for _, made in came].count(True) == 1
    assert len(product.provider.asked) == 1


async def test_a_customer_who_returns_later_asks_anew(product: InProcess) -> None:
    """A past outcome is not kept: an old error is not the answer of now."""
    meeting = await product.meeting("intro")
    product.provider.will("intro", FAILED)
    on_demand = product.on_demand()
    with pytest.raises(PoolEmpty):
        await make_and_bind(product, meeting, "ann", on_demand)
    _, made = await make_and_bind(product, meeting, "ann", on_demand)
    assert made


async def test_customers_and_meetings_are_distinguished(product: InProcess) -> None:
    """Two customers, or one at two meetings, get two links."""
    intro, demo = await product.meeting("intro"), await product.meeting("demo")
    on_demand = product.on_demand()
    came = await asyncio.gather(
        make_and_bind(product, intro, "ann", on_demand),
        make_and_bind(product, intro, "ben", on_demand),
        make_and_bind(product, demo, "ann", on_demand),
    )
    assert len({claim.slug for claim, _ in came}) == 3
    assert all(made for _, made in came)


async def test_a_visitor_who_leaves_takes_no_link_from_the_others(product: InProcess) -> None:
    """The link is made for those who still wait for it."""
    meeting = await product.meeting("intro")
    product.provider.gate = asyncio.Event()
    on_demand = product.on_demand()
    first = asyncio.create_task(make_and_bind(product, meeting, "ann", on_demand))
    second = asyncio.create_task(make_and_bind(product, meeting, "ann", on_demand))
    await until(lambda: product.provider.under_way == 1)
    first.cancel()
    product.provider.gate.set()
    claim, _ = await second
    assert await product.store.claim_of("intro", "ann") == claim


async def test_a_link_bound_meanwhile_is_the_customers(product: InProcess) -> None:
    """The one that was made then is nobody's yet: it enters the pool."""
    meeting = await product.meeting("intro")

    async def bound_elsewhere() -> None:
        await product.stock("intro", "one-off-1")
        await product.claim("intro", "ann")

    product.provider.will("intro", bound_elsewhere)
    claim, made = await make_and_bind(product, meeting, "ann")
    assert (claim.slug, made) == ("one-off-1", False)
    assert await product.pooled("intro") == [product.provider.made[0].slug]


async def test_no_more_links_than_a_few_are_made_at_once(product: InProcess) -> None:
    """A crowd must not storm the provider."""
    meeting = await product.meeting("intro")
    product.provider.gate = asyncio.Event()
    on_demand = product.on_demand(timeout_seconds=60)
    asked = [
        asyncio.create_task(make_and_bind(product, meeting, f"c-{n}", on_demand)) for n in range(12)
    ]
    await until(lambda: product.provider.under_way == AT_ONCE)
    for _ in range(100):
        await asyncio.sleep(0)
    product.provider.gate.set()
    await asyncio.gather(*asked)
    assert product.provider.most_under_way == AT_ONCE


async def refused(product: InProcess, meeting: Meeting, **options: Any) -> PoolEmpty:
    """Return the error that a customer gets."""
    with pytest.raises(PoolEmpty) as caught:
        await make_and_bind(product, meeting, "ann", product.on_demand(**options))
    return caught.value


async def test_a_meeting_that_makes_no_links_on_the_spot_says_so_at_once(
    product: InProcess,
) -> None:
    """The error has the fallback address, and no request was made."""
    meeting = await product.meeting("intro", on_empty="fail", fallback_url="https://a.example/x")
    error = await refused(product, meeting)
    assert error.fallback_url == "https://a.example/x"
    assert 2 <= error.retry_after_seconds <= 3
    assert product.provider.asked == []


async def test_a_slow_provider_costs_a_visitor_no_more_than_the_timeout(
    product: InProcess,
) -> None:
    """A link that comes later is not bound: the visitor is gone."""
    meeting = await product.meeting("intro", fallback_url="https://a.example/x")
    product.provider.seconds = 30.0
    began = time.monotonic()
    error = await refused(product, meeting, timeout_seconds=0.1)
    assert time.monotonic() - began < 15
    assert "slow" in str(error)
    assert error.fallback_url == "https://a.example/x"
    assert await product.store.claim_of("intro", "ann") is None


@pytest.mark.parametrize("step", [FAILED, THROTTLED, MEETING_REFUSED, WORKSPACE_REFUSED])
async def test_what_the_provider_refuses_is_an_empty_pool(
    product: InProcess, step: Exception
) -> None:
    """The error never has the provider's own words."""
    meeting = await product.meeting("intro", fallback_url="https://a.example/x")
    product.provider.will("intro", step)
    error = await refused(product, meeting)
    assert "NeetoCal" not in str(error)
    assert error.fallback_url == "https://a.example/x"


async def test_after_a_429_the_direct_path_rests_too(product: InProcess) -> None:
    """It shares the budget with top-up."""
    meeting = await product.meeting("intro")
    product.provider.will("intro", THROTTLED)
    await refused(product, meeting)
    error = await refused(product, meeting)
    assert "budget" in str(error)
    assert len(product.provider.asked) == 1


async def test_a_blocked_meeting_or_workspace_is_not_asked(product: InProcess) -> None:
    """The visitor comes back later than otherwise; a neighbour of a blocked meeting is served."""
    intro, demo = await product.meeting("intro"), await product.meeting("demo")
    now_ms = await product.store.now_ms()
    block = Block("404", now_ms, now_ms + 60_000)
    await product.store.blocks.put("intro", block)
    assert (await refused(product, intro)).retry_after_seconds >= 30
    assert product.provider.asked == []
    assert (await make_and_bind(product, demo, "ann"))[1]
    await product.store.blocks.put_workspace("default", block)
    assert (await refused(product, demo)).retry_after_seconds >= 30
    assert product.provider.asked == ["demo"]


async def test_a_workspace_that_is_not_configured_makes_no_links(product: InProcess) -> None:
    """The visitor gets the error of an empty pool."""
    meeting = await product.meeting("intro", workspace="gone", fallback_url="https://a.example/x")
    assert (await refused(product, meeting)).fallback_url == "https://a.example/x"


async def test_a_fallen_fence_is_found_before_a_link_is_burnt(product: InProcess) -> None:
    """No request: the link could not be bound."""
    meeting = await product.meeting("intro")
    await product.redis.restart()
    with pytest.raises(Fenced):
        await make_and_bind(product, meeting, "ann")
    assert product.provider.asked == []


async def test_a_fence_that_falls_while_the_link_is_made_binds_nothing(
    product: InProcess,
) -> None:
    """The pool of before is gone, and its customers' bindings may be."""
    meeting = await product.meeting("intro")

    async def fall() -> None:
        await product.redis.restart()

    product.provider.will("intro", fall)
    with pytest.raises(Fenced):
        await make_and_bind(product, meeting, "ann")
    assert await product.store.claim_of("intro", "ann") is None


async def test_a_meeting_paused_meanwhile_binds_nothing(product: InProcess) -> None:
    """The visitor learns that it is paused, and when to return."""
    meeting = await product.meeting("intro")

    async def pause() -> None:
        await product.meeting("intro", paused=True)

    product.provider.will("intro", pause)
    with pytest.raises(PoolPaused) as caught:
        await make_and_bind(product, meeting, "ann")
    assert caught.value.retry_after_seconds == 30
    assert await product.store.claim_of("intro", "ann") is None


async def test_without_the_ledger_no_link_is_bound(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process could know if it is another customer's."""
    meeting = await product.meeting("intro")

    async def away(_links: object) -> set[str]:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(product.ledger.links, "insert_fresh", away)
    assert "ledger" in str(await refused(product, meeting))
    assert await product.store.claim_of("intro", "ann") is None


@pytest.mark.parametrize("spread", [0, 1])
async def test_a_visitor_learns_when_to_return(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, spread: int
) -> None:
    """It is in two seconds, or thirty while the provider refuses, and a second later for some."""
    bounds: list[int] = []

    def randbelow(bound: int) -> int:
        bounds.append(bound)
        return spread

    monkeypatch.setattr("pool.claims.spot_links.secrets.randbelow", randbelow)
    meeting = await product.meeting("intro")
    product.provider.will("intro", FAILED)
    assert (await refused(product, meeting)).retry_after_seconds == 2 + spread
    now_ms = await product.store.now_ms()
    await product.store.blocks.put("intro", Block("404", now_ms, now_ms + 60_000))
    assert (await refused(product, meeting)).retry_after_seconds == 30 + spread
    assert bounds == [2, 2]


async def test_a_ledger_that_has_just_written_is_not_asked_whether_it_can(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second later it is, and at once after it failed; if it cannot, nothing is asked for."""
    meeting = await product.meeting("intro")
    on_demand = product.on_demand()
    pings, clock = [], [1_000.0]
    monkeypatch.setattr(
        "pool.claims.spot_links.time", type("Time", (), {"monotonic": lambda: clock[0]})
    )
    monkeypatch.setattr(
        "pool.claims.on_demand.time", type("Time", (), {"monotonic": lambda: clock[0]})
    )

    async def ping() -> None:
        pings.append(clock[0])
        if clock[0] > 2_000:
            raise LedgerUnavailable("away")

    monkeypatch.setattr(product.ledger, "ping", ping)
    for number, passed in enumerate((0.0, 0.9, 0.9, 1.0)):
        clock[0] += passed
        await make_and_bind(product, meeting, f"c{number}", on_demand)
    assert pings == [1_000.0, 1_002.8]
    insert = product.ledger.links.insert_fresh

    async def away(_links: object) -> set[str]:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(product.ledger.links, "insert_fresh", away)
    with pytest.raises(PoolEmpty):
        await make_and_bind(product, meeting, "lost", on_demand)
    monkeypatch.setattr(product.ledger.links, "insert_fresh", insert)
    clock[0] += 0.1
    await make_and_bind(product, meeting, "back", on_demand)
    assert pings == [1_000.0, 1_002.8, clock[0]]
    clock[0] = 2_001.0
    asked = len(product.provider.asked)
    with pytest.raises(PoolEmpty, match="ledger"):
        await make_and_bind(product, meeting, "late", on_demand)
    assert len(product.provider.asked) == asked


async def test_a_provider_that_only_repeats_itself_is_blocked(product: InProcess) -> None:
    """Visitors' links count as those of top-up do."""
    meeting = await product.meeting("intro")
    first, _ = await make_and_bind(product, meeting, "ann")
    product.provider.always(first.slug)
    for number in range(8):
        assert (await product.level("intro")).block is None
        with pytest.raises(PoolEmpty, match="repeated"):
            await make_and_bind(product, meeting, f"c{number}")
    assert (await product.level("intro")).block is not None


async def test_half_of_the_time_that_is_left_is_for_the_turn(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half is for the provider's answer."""
    meeting = await product.meeting("intro")
    maker, waits = product.parts.makers["default"], []
    make = maker.make

    async def noted(sid: str, *, within_seconds: float) -> Any:
        waits.append(within_seconds)
        return await make(sid, within_seconds=within_seconds)

    monkeypatch.setattr(maker, "make", noted)
    await make_and_bind(product, meeting, "ann", product.on_demand(timeout_seconds=50))
    assert 20 < waits[0] <= 25
