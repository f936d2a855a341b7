"""Test a survey exactly: its turns, its notes, and the errors it passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from pool.errors import StoreUnavailable
from pool.model.links import State
from pool.providers import ProviderMeeting
from pool.store import key_names
from pool.store.records import Block
from tests.in_process import InProcess, in_process
from worker import (
    survey,
)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def listed(product: InProcess, *sids: str, disabled: str = "") -> None:
    product.provider.listed = [
        ProviderMeeting(sid=sid, name=sid, disabled=sid == disabled) for sid in sids
    ]


async def fact(product: InProcess) -> object:
    kept = await product.ledger.facts.get("listed:default")
    return kept and msgspec.json.decode(kept)


def turns_of(product: InProcess, monkeypatch: pytest.MonkeyPatch, left: int = 99) -> list[float]:
    """Return the list of patiences with which turns are waited for. Only this number of turns
    comes.
    """
    turns: list[float] = []

    async def wait_turn(*, within_seconds: float) -> bool:
        turns.append(within_seconds)
        return len(turns) <= left

    monkeypatch.setattr(product.parts.makers["default"], "wait_turn", wait_turn)
    return turns


@pytest.mark.parametrize(("known", "turns"), [(0, 1), (99, 1), (100, 2), (250, 3)])
async def test_each_page_of_the_providers_list_takes_a_turn(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, known: int, turns: int
) -> None:
    """There are as many pages as the last list filled, and one more."""
    await product.meeting("intro")
    await product.meeting("unlisted")
    await product.ledger.facts.put(
        "listed:default", msgspec.json.encode([f"m-{n}" for n in range(known)]).decode()
    )
    waited = turns_of(product, monkeypatch)
    listed(product, "intro", "of another product")
    await survey.survey(product.parts)
    assert waited == [5.0] * turns
    assert await fact(product) == ["intro"]


async def test_a_survey_without_its_last_turn_asks_nothing(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await product.meeting("intro")
    known = msgspec.json.encode([f"m-{n}" for n in range(250)]).decode()
    await product.ledger.facts.put("listed:default", known)
    waited = turns_of(product, monkeypatch, left=2)
    listed(product, "intro")
    await survey.survey(product.parts)
    assert len(waited) == 3
    assert await product.ledger.facts.get("listed:default") == known


async def test_what_is_listed_is_noted_when_it_changes(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored order does not depend on the provider's."""
    for sid in ("b", "a", "c"):
        await product.meeting(sid)
    put: list[str] = []
    real = product.ledger.facts.put

    async def noted(name: str, value: str) -> None:
        put.append(value)
        await real(name, value)

    monkeypatch.setattr(product.ledger.facts, "put", noted)
    listed(product, "c", "b", "x")
    for _ in range(2):
        await survey.survey(product.parts)
    listed(product, "b")
    await survey.survey(product.parts)
    assert put == ['["b","c"]', '["b"]']


async def test_a_meeting_is_closed_once_and_reopened_with_a_note(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its stock is retired, however much; its block is lifted, no other's."""
    monkeypatch.setattr(survey, "_BATCH", 2)
    for sid in ("intro", "other"):
        await product.meeting(sid)
        await product.store.blocks.put(sid, Block("500", 1, 2, "failed-500"))
    await product.stock("intro", *(f"a-{n}" for n in range(5)))
    listed(product, "intro", "other", disabled="intro")
    for _ in range(2):
        await survey.survey(product.parts)
    published = {each.sid: each.closed_reason for each in await product.store.published.all()}
    assert published == {"intro": survey.DISABLED, "other": ""}
    listed(product, "intro", "other")
    before = datetime.now(UTC)
    for _ in range(2):
        await survey.survey(product.parts)
    notes = [
        (each.actor, each.action, each.meeting_sid, each.reason, each.detail)
        for each in await product.ledger.audit.list()
    ]
    assert notes == [
        ("linkpool", "reopen", "intro", "", {"retired": 5}),
        ("linkpool", "close", "intro", survey.DISABLED, {}),
    ]
    assert await product.states("intro") == {State.RETIRED: 5}
    found = await product.ledger.search.link("a-4")
    assert found is not None
    assert found.withdrawn_at is not None
    assert abs(found.withdrawn_at - before) < timedelta(minutes=1)
    published = {each.sid: each.closed_reason for each in await product.store.published.all()}
    assert published == {"intro": "", "other": ""}
    levels = {each.sid: each.block for each in await product.store.look(["intro", "other"])}
    assert levels["intro"] is None
    assert levels["other"] is not None


async def test_a_meeting_of_which_nothing_is_known_is_left_as_it_is(product: InProcess) -> None:
    """One that another refusal blocked is not gone, and one that is closed stays so unlisted."""
    for sid in ("refused", "closed"):
        await product.meeting(sid)
    await product.store.blocks.put("refused", Block("403", 1, 2, "refused-403"))
    await product.ledger.meetings.close("closed", "by an earlier survey")
    listed(product, "another")
    await survey.survey(product.parts)
    reasons = {each.sid: each.closed_reason for each in await product.ledger.meetings.all()}
    assert reasons == {"refused": "", "closed": "by an earlier survey"}
    assert await product.ledger.audit.list() == []


async def test_a_survey_is_one_workers_and_of_workspaces_that_can_be_asked(
    fake_redis: Any, sqlite_url: str
) -> None:
    """One that another worker asks, that is blocked, or has no meetings, is passed by."""
    names = ("asked", "blocked", "empty", "default")
    async with in_process(fake_redis, sqlite_url, *names) as product:
        for name in ("asked", "blocked", "default"):
            await product.meeting(f"m-{name}", workspace=name)
        for name in names:
            product.providers[name].listed = [
                ProviderMeeting(sid=f"m-{each}", name="", disabled=True) for each in names
            ]
        now_ms = await product.store.now_ms()
        await product.store.blocks.put_workspace("blocked", Block("401", now_ms, now_ms))
        async with product.store.locks.held(key_names.task_lock("survey:asked")):
            await survey.survey(product.parts)
        reasons = {each.sid: each.closed_reason for each in await product.ledger.meetings.all()}
        assert reasons == {"m-asked": "", "m-blocked": "", "m-default": survey.DISABLED}
        for name in names:
            kept = await product.ledger.facts.get(f"listed:{name}")
            assert kept == ('["m-default"]' if name == "default" else None)


async def test_a_meeting_that_cannot_be_closed_is_reported_and_passed_by(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis or the ledger being away ends the survey, since it affects all meetings."""
    for sid in ("a-bad", "good"):
        await product.meeting(sid)
    real, error = product.ledger.meetings.close, [ValueError("a defect")]

    async def close(sid: str, reason: str) -> bool:
        if sid == "a-bad":
            raise error[0]
        return await real(sid, reason)

    monkeypatch.setattr(product.ledger.meetings, "close", close)
    product.provider.listed = [
        ProviderMeeting(sid=sid, name=sid, disabled=True) for sid in ("a-bad", "good")
    ]
    with capture_logs() as lines:
        await survey.survey(product.parts)
    reasons = {each.sid: each.closed_reason for each in await product.ledger.meetings.all()}
    assert reasons == {"a-bad": "", "good": survey.DISABLED}
    assert product.metric("linkpool_meeting_failures_total", task="survey", meeting="a-bad") == 1
    [line] = [line for line in lines if line["event"] == "failed for a meeting"]
    assert (line["task"], line["meeting"], line["exc_info"]) == ("survey", "a-bad", error[0])
    error[0] = StoreUnavailable("away", is_outage=True)  # type: ignore[call-overload]
    with pytest.raises(StoreUnavailable):
        await survey.survey(product.parts)
