"""Test that a meeting which is disabled or deleted at the provider hands out no dead links."""

from __future__ import annotations

from typing import Any

import pytest

from pool.model.links import State
from pool.operations.status import statuses
from pool.providers import ProviderMeeting
from pool.store.records import Block, Outcome, payload
from tests.in_process import InProcess, in_process
from worker.survey import survey


def listed(product: InProcess, *sids: str, disabled: str = "") -> None:
    """Set what the provider lists from now on."""
    product.provider.listed = [
        ProviderMeeting(sid=sid, name=sid, disabled=sid == disabled) for sid in sids
    ]


async def outcome(product: InProcess, sid: str, who: str) -> Outcome:
    """Return the outcome of a claim."""
    customer = (product.store.names.name(sid, who), payload(who))
    return (await product.store.claim(sid, [customer])).answers[0].outcome


async def state(product: InProcess, sid: str) -> tuple[str, str]:
    meeting = await product.ledger.meetings.get(sid)
    assert meeting is not None
    [status] = await statuses(product.store, product.ledger, [meeting])
    return status.state, status.reason


@pytest.fixture
async def stocked(product: InProcess) -> InProcess:
    """Return two meetings with stock that the provider lists, and ann with a link of each."""
    for sid in ("intro", "demo"):
        await product.meeting(sid, min_fresh=2)
        await product.stock(sid, f"{sid}-1", f"{sid}-2", f"{sid}-3")
        await product.claim(sid, "ann")
    listed(product, "intro", "demo", "another of the account")
    await survey(product.parts)
    return product


async def test_a_disabled_meeting_hands_out_no_more_links(stocked: InProcess) -> None:
    """It is blocked with a reason; customers keep the links they hold; its neighbour goes on."""
    listed(stocked, "intro", "demo", disabled="intro")
    await survey(stocked.parts)
    assert await outcome(stocked, "intro", "ben") is Outcome.PAUSED
    assert await outcome(stocked, "intro", "ann") is Outcome.REUSED
    assert await outcome(stocked, "demo", "ben") is Outcome.NEW
    name, reason = await state(stocked, "intro")
    assert name == "blocked"
    assert "disabled" in reason
    assert (await state(stocked, "demo"))[0] != "blocked"


async def test_no_links_are_made_for_a_closed_meeting(stocked: InProcess) -> None:
    """No link is made at any level of its pool."""
    listed(stocked, "intro", "demo", disabled="intro")
    await survey(stocked.parts)
    await stocked.store.stock.take_out("intro", up_to_ms=None)
    await stocked.top_up()
    assert stocked.provider.requests()["intro"] == 0


async def test_a_meeting_that_is_enabled_again_gets_new_stock(stocked: InProcess) -> None:
    """Links made before may be dead: they are retired, not handed out."""
    listed(stocked, "intro", "demo", disabled="intro")
    await survey(stocked.parts)
    listed(stocked, "intro", "demo")
    await survey(stocked.parts)
    assert await state(stocked, "intro") != "blocked"
    assert await stocked.pooled("intro") == []
    assert await stocked.state("intro-2") is State.RETIRED
    await stocked.top_up()
    assert await outcome(stocked, "intro", "ben") is Outcome.NEW
    assert await outcome(stocked, "intro", "ann") is Outcome.REUSED


async def test_a_deleted_meeting_hands_out_no_more_links(stocked: InProcess) -> None:
    """It was listed before, and is not any more."""
    listed(stocked, "demo")
    await survey(stocked.parts)
    await survey(stocked.parts)  # and stays so
    assert await outcome(stocked, "intro", "ben") is Outcome.PAUSED
    assert "does not list" in (await state(stocked, "intro"))[1]


async def test_a_meeting_that_was_never_listed_is_left_alone(product: InProcess) -> None:
    """A key may not see all meetings; links are made for it, so it is there."""
    await product.meeting("unseen", min_fresh=1)
    listed(product, "another")
    await survey(product.parts)
    await product.top_up()
    assert await outcome(product, "unseen", "ann") is Outcome.NEW


async def test_a_meeting_that_is_neither_found_nor_listed_is_closed(product: InProcess) -> None:
    """The provider said 404 when it was asked for a link."""
    await product.meeting("gone")
    await product.stock("gone", "gone-1")
    now_ms = await product.store.now_ms()
    await product.store.blocks.put("gone", Block("404", now_ms, now_ms, "refused-404"))
    listed(product, "another")
    await survey(product.parts)
    assert await outcome(product, "gone", "ann") is Outcome.PAUSED


async def test_an_empty_list_closes_nothing(stocked: InProcess) -> None:
    """An account without any meeting is more likely a key that sees none."""
    listed(stocked)
    await survey(stocked.parts)
    assert await outcome(stocked, "intro", "ben") is Outcome.NEW


async def test_what_an_operator_changes_leaves_a_closed_meeting_closed(stocked: InProcess) -> None:
    """Its settings are the operator's to change; only the provider enables it again."""
    listed(stocked, "intro", "demo", disabled="intro")
    meeting = await stocked.ledger.meetings.get("intro")
    assert meeting is not None
    await survey(stocked.parts)
    await stocked.ledger.meetings.put(meeting)  # as it was read before
    after = await stocked.ledger.meetings.get("intro")
    assert after is not None
    assert after.closed_reason


async def test_a_provider_that_does_not_answer_keeps_no_other_workspace_waiting(
    fake_redis: Any, sqlite_url: str
) -> None:
    """The last known state stays."""
    async with in_process(fake_redis, sqlite_url, "a-broken", "default") as product:
        await product.meeting("broken", workspace="a-broken")
        await product.meeting("intro")
        await product.stock("intro", "intro-1")
        listed(product, "intro", disabled="intro")

        async def fail() -> list[ProviderMeeting]:
            from tests.scripted_provider import FAILED

            raise FAILED

        product.providers["a-broken"].meetings = fail  # type: ignore[method-assign]
        await survey(product.parts)
        assert await outcome(product, "intro", "ann") is Outcome.PAUSED


@pytest.mark.parametrize("product", [{"provider_rate": 0.1}], indirect=True)
async def test_a_survey_takes_its_turn_in_the_budget(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its turn does not come within its patience, the next survey asks."""
    monkeypatch.setattr("worker.survey.TURN_SECONDS", 0.01)
    await product.meeting("intro")
    await product.stock("intro", "intro-1")
    while (
        await product.store.budget.take("default", first_rate=0.1, within_seconds=0.01) is not None
    ):
        pass
    listed(product, "intro", disabled="intro")
    await survey(product.parts)
    assert await outcome(product, "intro", "ann") is Outcome.NEW
