"""Test a batch of claims at a desk that the test plays."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from pydantic import SecretStr

from pool.access.api_keys import KeyRing
from pool.access.doors import Doors
from pool.api.claim_path.claim_batch import BATCH_CUSTOMERS, ClaimBatch, parse_batch
from pool.api.claim_path.claim_lane import ClaimLane
from pool.claims.queue import Receipt, Waiter
from pool.config.networks import TrustedProxies
from pool.config.settings import Settings, Workspace
from pool.errors import (
    Fenced,
    InvalidRequest,
    LinkpoolError,
    PoolEmpty,
    RateLimited,
    StoreUnavailable,
    Unauthorized,
)
from pool.model.links import Claim
from pool.model.meetings import Meeting

KEY = "lp_an_admin_key_of_this_test_alone"
HEADERS = [(b"x-api-key", KEY.encode())]
ACME = Workspace(name="default", subdomain="acme", api_key=SecretStr("k"))


class Desk:
    """A desk at which the test answers; `join` is what the lane calls."""

    def __init__(self) -> None:
        self.line: list[tuple[str, bool, Waiter]] = []
        self.most = 0

    def pool_of(self, sid: str, who: str) -> str:
        """Spread customers by their numbers."""
        return f"{sid}:{int(who[2:]) % 2}/2"

    def join(self, waiter: Waiter, _sid: str, who: str, *_: Any, limited: bool) -> None:
        """Put a customer in line."""
        self.line.append((who, limited, waiter))
        self.most = max(self.most, len(self.line))

    def serve(self, error: LinkpoolError | None = None) -> list[str]:
        """Answer all who are in line; the limited ones as those who hold nothing."""
        line, self.line = self.line, []
        for who, limited, waiter in line:
            if limited:
                waiter.set_exception(RateLimited("limited", retry_after_seconds=10))
            elif error is not None:
                waiter.set_exception(error)
            else:
                claim = Claim(f"one-off-{who}", "claimed", "pool", 1)
                waiter.set_result(Receipt(Meeting("demo"), claim, "new"))
        return [who for who, *_ in line]


def lane_of(desk: Desk, per_minute: int = 0, shards: int = 1) -> ClaimLane:
    """Return a lane in front of this desk."""
    keys = KeyRing(cast(Any, SimpleNamespace()), KEY)
    keys._loaded = True
    return ClaimLane(
        cast(Any, None),
        cast(Any, desk),
        cast(Any, SimpleNamespace(get=lambda _: Meeting("demo", shards=shards))),
        keys,
        Settings(workspaces={"default": ACME}, new_claims_per_minute_per_key=per_minute),
        cast(Any, SimpleNamespace(claim_seconds=lambda _: None)),
        Doors(TrustedProxies("127.0.0.1"), lambda _: None),
    )


def batch_of(desk: Desk, customers: int, **more: Any) -> asyncio.Task[bytes]:
    """Begin a batch for this number of customers, named c-0 and so on."""
    body = json.dumps({"claims": [{"customer_id": f"c-{each}"} for each in range(customers)]})
    batch = ClaimBatch(lane_of(desk, **more), "demo", HEADERS, "127.0.0.1")
    return asyncio.create_task(batch.claim(parse_batch(body.encode())))


async def finished(task: asyncio.Task[bytes], desk: Desk, *errors: LinkpoolError | None) -> Any:
    """Serve the desk until the batch ends, at first with these errors. Return its results."""
    turns = iter(errors)
    for _ in range(1000):
        await asyncio.sleep(0)
        if task.done():
            break
        if desk.line:
            desk.serve(next(turns, None))
    return json.loads(await task)["results"]


async def test_a_batch_waits_in_line_in_pieces() -> None:
    """Visitors who come meanwhile wait behind two script calls at most."""
    desk = Desk()
    results = await finished(batch_of(desk, 1000), desk)
    assert desk.most == 128
    assert [each["customer_id"] for each in results] == [f"c-{each}" for each in range(1000)]
    assert {each["status"] for each in results} == {201}
    assert results[7]["claim"]["slug"] == "one-off-c-7"


async def test_results_stand_in_order_whatever_order_they_come_in() -> None:
    """The last in line may be served first."""
    desk = Desk()
    task = batch_of(desk, 5)
    await asyncio.sleep(0)
    desk.line.reverse()
    assert desk.serve() == ["c-4", "c-3", "c-2", "c-1", "c-0"]
    results = await finished(task, desk)
    assert [each["claim"]["slug"] for each in results] == [f"one-off-c-{n}" for n in range(5)]


async def test_behind_an_empty_pool_only_held_links_are_asked_for() -> None:
    """Each of the others would wait for the provider in turn, so all get the same answer."""
    desk = Desk()
    empty = PoolEmpty("the pool is empty", retry_after_seconds=3, fallback_url="https://a.example")
    task = batch_of(desk, 500)
    await asyncio.sleep(0)
    assert not any(limited for _, limited, _ in desk.line)
    desk.serve(empty)
    await asyncio.sleep(0)
    assert all(limited for _, limited, _ in desk.line)
    results = await finished(task, desk)
    assert {each["status"] for each in results} == {503}
    assert {each["problem"]["type"] for each in results} == {"/problems/pool-empty"}
    assert {each["problem"]["retry_after_seconds"] for each in results} == {3}
    assert {each["problem"]["fallback_url"] for each in results} == {"https://a.example"}


@pytest.mark.parametrize("error", [PoolEmpty("the pool is empty"), Fenced("demo")])
async def test_what_one_of_several_pools_lacks_concerns_its_own_customers(
    error: LinkpoolError,
) -> None:
    """Customers of the other pools are served as usual, however many come after."""
    desk = Desk()
    task = batch_of(desk, 500, shards=2)
    await asyncio.sleep(0)
    rest = [entry for entry in desk.line if int(entry[0][2:]) % 2]
    desk.line = [entry for entry in desk.line if not int(entry[0][2:]) % 2]
    desk.serve(error)
    desk.line = rest
    results = await finished(task, desk)
    assert [each["status"] for each in results] == [503, 201] * 250


@pytest.mark.parametrize(
    ("error", "name"),
    [(StoreUnavailable("away"), "store-unavailable"), (Fenced("demo"), "recovering")],
)
async def test_an_outage_is_not_waited_for_by_each(error: LinkpoolError, name: str) -> None:
    """Customers after the first error are not put in line any more."""
    desk = Desk()
    task = batch_of(desk, 1000)
    await asyncio.sleep(0)
    assert len(desk.serve(error)) == 128
    results = await finished(task, desk)
    assert desk.line == []
    assert desk.most == 128
    assert {each["problem"]["type"] for each in results} == {f"/problems/{name}"}
    assert all(each["problem"]["retry_after_seconds"] >= 1 for each in results)


async def test_each_new_link_counts_against_the_keys_limit() -> None:
    """Customers within the limit get a link, and the rest are asked to come back."""
    desk = Desk()
    results = await finished(batch_of(desk, 20, per_minute=5), desk)
    assert [each["status"] for each in results] == [201] * 5 + [429] * 15
    assert results[5]["problem"]["type"] == "/problems/rate-limited"


async def test_a_refused_customer_gives_the_count_back() -> None:
    """A failure costs the key nothing."""
    desk = Desk()
    lane = lane_of(desk, per_minute=5)
    for _ in range(3):
        batch = ClaimBatch(lane, "demo", HEADERS, "127.0.0.1")
        raw = [msgspec.Raw(json.dumps({"customer_id": f"c-{n}"}).encode()) for n in range(5)]
        task = asyncio.create_task(batch.claim(raw))
        results = await finished(task, desk, StoreUnavailable("away"))
        assert {each["status"] for each in results} == {503}
    assert not lane.per_key.reached("admin")


async def test_a_key_that_ends_on_the_way_is_each_customers_problem() -> None:
    """The results that were given are not lost."""
    desk = Desk()
    lane = lane_of(desk)
    batch = ClaimBatch(lane, "demo", [(b"x-api-key", b"wrong")], "127.0.0.1")
    results = json.loads(await batch.claim([msgspec.Raw(b'{"customer_id": "a"}')]))["results"]
    assert results[0]["status"] == 401
    with pytest.raises(Unauthorized):
        lane.admit("demo", [], "127.0.0.1")


def test_a_batch_has_a_most() -> None:
    """One customer more is refused, with both numbers."""
    body = json.dumps({"claims": [{}] * (BATCH_CUSTOMERS + 1)}).encode()
    with pytest.raises(InvalidRequest) as raised:
        parse_batch(body)
    assert raised.value.errors == ("claims: 1001 of at most 1000 - `$.claims`",)
    assert len(parse_batch(json.dumps({"claims": [{}] * BATCH_CUSTOMERS}).encode())) == 1000
