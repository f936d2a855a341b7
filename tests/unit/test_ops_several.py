"""Test actions on several pools at once, trying a provider, and what the page explains."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pool.api.ops.pages.runbooks import runbooks
from pool.errors import InvalidRequest, MeetingRefused, StoreUnavailable, WorkspaceRefused
from pool.model.incidents import Incident, What
from pool.model.meetings import Meeting
from pool.operations.explain import explain
from pool.operations.glossary import STATES
from pool.operations.selection import PAGE_ROWS, Selection, matching
from pool.operations.several import Outcome, act_on_several, outcome_words
from pool.operations.since import since_of
from pool.operations.status import URGENCY
from pool.operations.trying import Trial
from pool.providers import ProviderMeeting
from pool.store.records import Block
from tests.in_process import InProcess
from tests.unit.test_ops_charts import BEGIN, sample, series
from tests.unit.test_ops_pages import status
from tests.unit.test_ops_settings import acting

DOCS = Path(__file__).parents[2] / "docs/monitoring.md"


# -- several at once -----------------------------------------------------------------


def test_all_that_match_are_on_every_page() -> None:
    """They include the ones beyond the page that is shown."""
    pools = [status(f"m{number:03}", "low") for number in range(PAGE_ROWS + 5)] + [status("ok")]
    found = matching(Selection(text="M", state="low", page=2), pools)
    assert len(found) == PAGE_ROWS + 5


async def act(product: InProcess, name: Any, *sids: str, known: Any = ()) -> list[Outcome]:
    return await act_on_several(
        acting(product), name, sids, "holidays", "ann", limited=False,
        known={each.meeting.sid: each for each in known}, changed=lambda _: None,
    )  # fmt: skip


async def test_each_pool_has_its_entry_and_one_that_fails_stops_no_other(
    product: InProcess,
) -> None:
    """All entries have the same reason, and a pool that needs nothing has none."""
    for sid in ("a", "b"):
        await product.meeting(sid)
    paused = Meeting("c", paused=True)
    outcomes = await act(
        product, "pause", "a", "nowhere", "b", "a", "c",
        known=[status("c", "paused", meeting=paused)],
    )  # fmt: skip
    assert [(each.sid, bool(each.failed), each.left) for each in outcomes] == [
        ("a", False, ""), ("nowhere", True, ""), ("b", False, ""), ("c", False, "paused already"),
    ]  # fmt: skip
    entries = await product.ledger.audit.list()
    assert {(each.meeting_sid, each.action, each.reason) for each in entries} == {
        ("a", "pause", "holidays"), ("b", "pause", "holidays"),
    }  # fmt: skip
    assert len(entries) == 2
    for sid in ("a", "b"):
        meeting = await product.ledger.meetings.get(sid)
        assert meeting is not None
        assert meeting.paused


async def test_while_redis_is_away_the_rest_is_not_tried(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would wait for as long. What was tried stands in ledger and audit, and nothing else."""
    sids = [f"m{number:02}" for number in range(20)]
    for sid in sids:
        await product.meeting(sid)
    asked = 0

    async def put(_meetings: Any) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        raise StoreUnavailable("Redis: timeout", connection_lost=True)

    monkeypatch.setattr(product.store.published, "put", put)
    outcomes = await act(product, "pause", *sids)
    not_tried = [each.sid for each in outcomes if "not tried" in each.failed]
    assert asked <= 8
    assert len(not_tried) == 20 - asked
    assert all(each.failed for each in outcomes)
    paused = {each.sid for each in await product.ledger.meetings.all() if each.paused}
    assert paused == set(sids) - set(not_tried)
    assert {each.meeting_sid for each in await product.ledger.audit.list()} == paused


async def test_what_is_well_is_not_resumed_and_what_is_paused_not_topped_up(
    product: InProcess,
) -> None:
    """Each says why nothing was done."""
    await product.meeting("a")
    [left] = await act(product, "resume", "a", known=[status("a")])
    assert left.left == "neither paused nor blocked"
    [left] = await act(
        product, "top-up", "a", known=[status("a", "paused", meeting=Meeting("a", paused=True))]
    )
    assert left.left == "paused: resume first"
    [done] = await act(product, "resume", "a", known=[status("a", "blocked")])
    assert done == Outcome("a")


def test_one_line_says_what_became_of_each() -> None:
    """Pools with the same outcome stand together, and very many are counted."""
    outcomes = [
        Outcome("a"), Outcome("b"), Outcome("c", failed="Redis is away"),
        Outcome("d", failed="Redis is away"), Outcome("e", left="paused already"),
    ]  # fmt: skip
    assert outcome_words("pause", outcomes) == (
        "Paused 2 pools: a, b. Left as they were: e (paused already). Failed: c, d (Redis is away)."
    )
    many = outcome_words("top-up", [Outcome(f"m{number}") for number in range(20)])
    assert many.startswith("Top-up requested for 20 pools: m0, ")
    assert many.endswith("and 12 more.")


# -- trying the provider ---------------------------------------------------------------


@pytest.fixture
async def trial(product: InProcess) -> Trial:
    """Return a trial of a workspace whose meeting `m` is blocked, as the workspace is."""
    await product.meeting("m")
    product.provider.listed = [ProviderMeeting("m", "M", False)]
    now_ms = (await product.level("m")).now_ms
    block = Block("refused", now_ms, now_ms + 60_000)
    await product.store.blocks.put("m", block)
    await product.store.blocks.put_workspace("default", block)
    return Trial(product.store, product.ledger, product.parts.makers["default"])


async def test_a_provider_that_makes_links_again_is_found_at_once(
    product: InProcess, trial: Trial
) -> None:
    """The link it made is in the pool, and no block stands."""
    said = await trial.meeting(Meeting("m"))
    assert said.works
    assert "It made a link" in said.words
    assert "which is in the pool. The block is lifted." in said.words
    assert len(await product.pooled("m")) == 1
    assert await product.store.blocks.of("m") is None
    assert await product.store.blocks.of_workspace("default") is None


async def test_the_emptiest_pool_of_a_meeting_with_shards_gets_the_link(
    product: InProcess, trial: Trial
) -> None:
    """Its pools have other names than the meeting."""
    meeting = await product.meeting("spread", shards=2)
    for _ in meeting.pools:
        assert (await trial.meeting(meeting)).works
    assert [len(await product.pooled(pool)) for pool in meeting.pools] == [1, 1]


async def test_a_providers_answer_is_shown_and_blocks_stay(
    product: InProcess, trial: Trial
) -> None:
    """A refused key costs no link; a disabled meeting neither; a refused link says why."""
    provider = product.provider
    provider.will("m", MeetingRefused("404 for this meeting"))
    assert "404 for this meeting" in (await trial.meeting(Meeting("m"))).words
    provider.listed = [ProviderMeeting("m", "M", True)]
    assert "lists this meeting as disabled" in (await trial.meeting(Meeting("m"))).words
    provider.list_error = WorkspaceRefused("401: the API key is not accepted")
    for answer in (await trial.meeting(Meeting("m")), await trial.workspace()):
        assert "the API key is not accepted" in answer.words
        assert not answer.works
    assert await product.store.blocks.of("m") is not None
    assert await product.pooled("m") == []


async def test_a_paused_meeting_gets_no_link(product: InProcess, trial: Trial) -> None:
    """A closed one gets none, either, and the provider's answer is still shown."""
    assert "paused here" in (await trial.meeting(Meeting("m", paused=True))).words
    closed = await trial.meeting(Meeting("m", closed_reason="disabled"))
    assert "opens it again" in closed.words
    assert await product.pooled("m") == []


async def test_a_workspace_that_answers_is_probed_next(product: InProcess, trial: Trial) -> None:
    """The worker probes it with a link, as always."""
    assert "accepts the key and lists 1 meeting." in (await trial.workspace()).words
    block = await product.store.blocks.of_workspace("default")
    assert block is not None
    assert block.is_probe_due((await product.level("m")).now_ms, 60)
    await product.store.blocks.put_workspace("default", None)
    assert "is not blocked" in (await trial.workspace()).words


@pytest.mark.parametrize("product", [{"provider_rate": 0.1}], indirect=True)
async def test_the_budget_bounds_what_is_tried(product: InProcess, trial: Trial) -> None:
    """It says so, rather than to hammer the provider."""

    async def often() -> None:
        for _ in range(50):
            await trial.workspace()

    with pytest.raises(InvalidRequest, match="budget"):
        await often()
    assert product.provider.lists < 50


# -- what is explained -----------------------------------------------------------------


@pytest.mark.parametrize("state", URGENCY)
def test_every_state_is_explained(state: str) -> None:
    """It names the reason, the effect on visitors, the remedy, and a runbook that exists."""
    for meeting in (Meeting("m"), Meeting("m", closed_reason="gone", fallback_url="https://x.t")):
        for reason in ("why so", "sealed for a restart", "its keys in Redis cannot be read: x"):
            why = explain(status("m", state, meeting=meeting, reason=reason))
            assert why.why
            assert why.visitors
            assert why.linkpool
            assert why.you
            assert not why.runbook or why.runbook in runbooks()
    assert state in STATES


def test_runbooks_are_those_of_the_docs() -> None:
    """Copy the section of docs/monitoring.md to pool/api/ops/runbooks.md when it changes."""
    docs = DOCS.read_text("utf-8")
    section = docs[docs.index("## Alerts, and what to do") : docs.index("\n## Logs")]
    kept = (Path(__file__).parents[2] / "pool/api/ops/runbooks.md").read_text("utf-8")
    assert kept.strip() == section.strip()
    assert len(runbooks()) > 15
    assert all(text for text in runbooks().values())


def test_since_when_is_found_in_the_past_and_in_incidents() -> None:
    """Levels from the history; what people and providers did from incidents."""
    past = series(sample(0), sample(10, level=0), sample(20, level=0))
    empty = since_of(status("m", "empty"), None, past)
    assert empty is not None
    assert (empty.at, empty.at_least) == (datetime.fromtimestamp(BEGIN + 10, UTC), False)
    low = since_of(status("m", "low"), None, series(sample(0, level=3), sample(10, level=2)))
    assert low is not None
    assert low.at_least
    fast = series(sample(0), sample(10, claims=20))  # 50 links last 25 s
    lasting = since_of(status("m", "low"), None, fast)
    assert lasting is not None
    assert lasting.at == datetime.fromtimestamp(BEGIN + 10, UTC)
    assert since_of(status("m", "empty"), None, series(sample(0))) is None
    began = datetime.now(UTC) - timedelta(minutes=3)
    pause = Incident(What.PAUSE, "m", began, None, "lunch", ("m",))
    paused = since_of(status("m", "paused"), pause, past)
    assert paused is not None
    assert paused.at == began
    assert since_of(status("m", "blocked"), None, past) is None
