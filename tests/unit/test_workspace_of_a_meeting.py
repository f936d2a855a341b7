"""Test what becomes of a meeting that is moved to another workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pool.errors import InvalidRequest
from pool.model.links import State
from pool.operations.administration import Administration
from tests.any_redis import AnyRedis
from tests.bookings_machine import _sign
from tests.in_process import InProcess, in_process


@pytest.fixture
async def product(fake_redis: AnyRedis, any_url: str) -> AsyncIterator[InProcess]:
    """Return the product with a workspace, the same one under another name, and another one."""
    async with in_process(fake_redis, any_url, "default", "acme", "other") as product:
        await product.meeting("intro")
        yield product


def administration(product: InProcess) -> Administration:
    return Administration(
        product.store, product.ledger, product.parts.recorder, product.parts.recovery,
        product.parts.settings,
    )  # fmt: skip


async def workspace_of(product: InProcess) -> str:
    meeting = await product.ledger.meetings.get("intro")
    assert meeting is not None
    return meeting.workspace


async def tell(product: InProcess, workspace: str, name: str, second: int) -> None:
    body = (
        b'{"event":"%b","booking":{"sid":"b","notes":"one-off-1",'
        b'"updated_at":"2026-05-01T10:00:0%dZ"}}' % (name.encode(), second)
    )
    await product.parts.bookings.receive(workspace, body, [_sign(body)])
    await product.parts.bookings.settle_due()


async def test_links_are_not_taken_to_a_workspace_where_they_lead_nowhere(
    product: InProcess,
) -> None:
    """Their customers would be sent to pages that do not exist; nothing has changed."""
    await product.stock("intro", "one-off-1")
    with pytest.raises(InvalidRequest) as refused:
        await administration(product).put("intro", {"workspace": "other"}, "a test")
    [error] = refused.value.errors
    assert error.startswith("workspace: ")
    assert "https://acme.neetocal.com" in error
    assert "https://other.neetocal.com" in error
    assert await workspace_of(product) == "default"


async def test_a_meeting_without_links_may_go_anywhere(product: InProcess) -> None:
    """It was put into the wrong workspace, which knows no such meeting."""
    await administration(product).put("intro", {"workspace": "other"}, "a test")
    assert await workspace_of(product) == "other"


async def test_a_workspace_of_another_name_keeps_links_and_bookings(product: InProcess) -> None:
    """The same account, moved from the environment to linkpool.toml: a cancellation ends it."""
    await product.stock("intro", "one-off-1")
    await product.claim("intro", "ann")
    await tell(product, "default", "booking_created", 1)
    await administration(product).put("intro", {"workspace": "acme"}, "a test")
    assert [each.workspace for each in await product.ledger.bookings.of_link("one-off-1")] == [
        "acme"
    ]
    await tell(product, "acme", "booking_cancelled", 2)
    assert await product.state("one-off-1") is State.CANCELLED
    assert await product.store.claim_of("intro", "ann") is None


async def test_a_booking_that_is_known_there_stays_where_it_is(product: InProcess) -> None:
    """Two rows of one name cannot be: the one that is there already counts."""
    await product.meeting("there", workspace="acme")
    await product.stock("there", "one-off-1")
    await tell(product, "acme", "booking_created", 1)
    await product.stock("intro", "one-off-2")
    await product.book("one-off-2", sid="b")
    await product.book("one-off-2", sid="c")
    await administration(product).put("intro", {"workspace": "acme"}, "a test")
    kept = await product.ledger.bookings.of_link("one-off-2")
    assert {(each.sid, each.workspace) for each in kept} == {("b", "default"), ("c", "acme")}
