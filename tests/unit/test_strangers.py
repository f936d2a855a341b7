"""Test pools in Redis that another database made: nothing of them is handed out."""

from __future__ import annotations

import pytest
from sqlalchemy import delete

from pool.durability.strangers import OPENED, REASON
from pool.errors import Fenced
from pool.ledger.tables import facts, links, meetings
from pool.operations.status import statuses
from tests.in_process import InProcess
from worker.sweep import sweep


async def another_database(product: InProcess, *, keeps_meetings: bool = False) -> None:
    """Make the ledger one that has never seen these pools."""
    database = product.ledger._database
    for table in (links, facts, *([] if keeps_meetings else [meetings])):
        await database.change(delete(table))


@pytest.fixture
async def stocked(product: InProcess) -> InProcess:
    """Return a product with a full pool."""
    await product.meeting("old")
    await product.stock("old", "a", "b", "c")
    return product


async def test_a_pool_of_ours_is_left_alone(stocked: InProcess) -> None:
    await stocked.parts.recovery.strangers.guard()
    await sweep(stocked.parts)
    assert (await stocked.level("old")).fence == "stands"
    assert await stocked.claim("old", "ann") == ["a"]


async def test_a_pool_of_an_older_release_is_ours_by_its_links(stocked: InProcess) -> None:
    """The ledger did not note yet which pools it opened."""
    await stocked.ledger._database.change(delete(facts).where(facts.c.name.startswith(OPENED)))
    assert await stocked.parts.recovery.strangers.everywhere() == []


@pytest.mark.parametrize("how", ["an API starts", "a worker sweeps"])
async def test_with_an_empty_ledger_nothing_is_handed_out(stocked: InProcess, how: str) -> None:
    """The pool was made with another DATABASE_URL; its state says so."""
    await another_database(stocked)
    if how == "an API starts":
        await stocked.parts.recovery.strangers.guard()
    else:
        await sweep(stocked.parts)
    level = await stocked.level("old")
    assert level.fence == "foreign"
    with pytest.raises(Fenced):
        await stocked.claim("old", "ann")
    [old] = [each for each in await stocked.store.published.all() if each.sid == "old"]
    [status] = await statuses(stocked.store, None, [old])
    assert (status.state, status.reason) == ("recovering", REASON)
    assert [each.sid for each in await stocked.parts.recovery.strangers.everywhere()] == ["old"]


async def test_with_its_meeting_in_the_new_ledger_the_pool_is_made_anew(stocked: InProcess) -> None:
    """Its old links are gone from the pool: they were perhaps shown, and have no row."""
    await another_database(stocked, keeps_meetings=True)
    assert ("linkpool.recover", {}) in await sweep(stocked.parts)
    await stocked.parts.recovery.recover("old", grace_seconds=0.0)
    level = await stocked.level("old")
    assert (level.fence, level.fresh) == ("stands", 0)
    assert await stocked.parts.recovery.strangers.everywhere() == []
