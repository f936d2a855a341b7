"""Test the decisions of a top-up one by one: what may start, what is wanted, what ends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from pool.errors import (
    BadAnswer,
    LedgerUnavailable,
    MeetingRefused,
    ProviderError,
    ProviderFailed,
    StoreUnavailable,
    WorkspaceRefused,
)
from pool.model.meetings import Meeting
from pool.providers import NewLink
from pool.store.records import Block, Level, Totals
from pool.supply import top_up
from pool.supply.planning import Need, Plan, need_of
from pool.supply.top_up import TopUp
from pool.supply.under_way import UnderWay
from tests.in_process import InProcess
from worker.top_up import prepare

SID = "intro"
BLOCK = Block("refused", 1_000, 61_000, "refused-404", 3)


class World:
    """Everything that a run touches; its calls are noted."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.suspects: set[str] = set()
        self.blamed: set[str] = set()
        self.workspace_blocks = 0
        self.troubles = SimpleNamespace(
            is_suspect=self.suspects.__contains__, is_blamed=self.blamed.__contains__
        )
        self.patience = SimpleNamespace(
            is_careful=False,
            failed=lambda: self.said.append("failed"),
            worked=lambda: self.said.append("worked"),
        )
        self.now = 70_000
        self.block: Block | None = None
        self.blocks_of: dict[str, Block | None] = {}
        self.answer: ProviderError | StoreUnavailable | LedgerUnavailable | None = None
        self.outcome: str | Exception = "added"
        self.counts = Counter[tuple[str, str]]()

    # -- the maker, the writer, the store

    async def make_now(self, sid: str, *, meetings: int, probe: bool) -> NewLink:
        self.said.append(("make", sid, meetings, probe))
        if self.answer is not None:
            raise self.answer
        return NewLink("a-1", "https://x.test/a-1")

    async def received(self, sid: str, *, is_new: bool) -> None:
        self.said.append(("received", sid, is_new))

    async def put(self, *arguments: Any) -> str:
        if isinstance(arguments[-1], NewLink):
            self.said.append(("write", *arguments[:2], arguments[2].slug))
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome
        self.said.append(("block", *arguments))
        return ""

    async def put_workspace(self, workspace: str, block: Block | None) -> None:
        self.said.append(("workspace", workspace, block))

    async def of_workspace(self, workspace: str) -> Block | None:
        assert workspace == "acme"
        return self.block

    async def of(self, sid: str) -> Block | None:
        return self.blocks_of.get(sid)

    async def now_ms(self) -> int:
        return self.now

    def run(self, concurrency: int = 8) -> TopUp:
        store: Any = SimpleNamespace(now_ms=self.now_ms, blocks=self)
        maker: Any = self
        run = TopUp(
            "acme", store=store, ledger=maker, maker=maker, pool_writer=maker,
            provider_concurrency=concurrency, probe_seconds=60.0,
            counted=lambda sid, outcome: self.counts.update([(sid, outcome)]),
        )  # fmt: skip
        run.meetings = 5
        run.plan = Plan([need(), need("other")])
        return run


def need(sid: str = SID, *, probe: bool = False) -> Need:
    return Need(sid, "epoch", 0, 3, 0.0, probe)


def planned(run: TopUp) -> list[str]:
    return [each.sid for each in run.plan._links]


@pytest.mark.parametrize(
    ("probe", "suspect", "making", "suspects", "slots", "lone", "may"),
    [
        # Whoever is well takes at most half of the slots, and all of them if nobody else waits.
        (False, False, 0, 0, 8, False, True),
        (False, False, 3, 9, 8, False, True),
        (False, False, 4, 0, 8, False, False),
        (False, False, 7, 0, 8, True, True),
        (False, False, 0, 0, 1, False, True),
        (False, False, 1, 0, 1, False, False),
        # One link of a suspect at a time, also of a probe; all suspects get a quarter.
        (True, False, 0, 1, 8, True, True),
        (True, False, 0, 2, 8, True, False),
        (True, False, 1, 0, 8, True, False),
        (False, True, 0, 1, 8, True, True),
        (False, True, 0, 2, 8, True, False),
        (False, True, 1, 0, 8, True, False),
        (True, True, 0, 0, 1, False, True),
        (True, True, 0, 1, 1, False, False),
    ],
)
def test_what_may_start_beside_what_is_under_way(
    probe: bool, suspect: bool, making: int, suspects: int, slots: int, lone: bool, may: bool
) -> None:
    """Meetings that got no link lately do not take the slots of the others."""
    under_way = UnderWay(slots, {SID}.__contains__ if suspect else lambda _sid: False)
    under_way.by_meeting[SID], under_way.suspects = making, suspects
    assert under_way.may_start(need(probe=probe), lone=lone) is may


def level(**fields: Any) -> Level:
    values: dict[str, Any] = {
        "sid": SID, "fresh": 2, "fence": "stands", "epoch": "e", "backlog": 0,
        "claims_per_second": 0.5, "oldest_fresh_seconds": None, "block": None, "published": "",
        "target": None, "now_ms": 1, "totals": Totals(),
    }  # fmt: skip
    return Level(**values | fields)


@pytest.mark.parametrize(
    ("fields", "making", "wanted"),
    [
        ({}, 0, Need(SID, "e", 2, 5, 0.5)),
        ({}, 2, Need(SID, "e", 4, 5, 0.5)),
        ({}, 3, None),
        ({"fresh": 5}, 0, None),
        ({"fence": "fallen"}, 0, None),
        ({"fence": "sealed"}, 0, None),
        ({"block": BLOCK}, 0, Need(SID, "e", 2, 5, 0.5, probe=True)),
        ({"block": BLOCK}, 1, None),
    ],
)
def test_what_is_wanted_of_a_meeting(
    fields: dict[str, Any], making: int, wanted: Need | None
) -> None:
    """Links under way count as stock; a blocked meeting is probed by one link."""
    assert need_of(Meeting(SID), level(**fields), 5, making) == wanted
    for stopped in (Meeting(SID, paused=True), Meeting(SID, closed_reason="gone")):
        assert need_of(stopped, level(**fields), 5, making) is None


async def test_a_pool_that_was_left_is_not_planned_again(product: InProcess) -> None:
    """Links were made for it that did not enter it; those of the others may."""
    for sid in (SID, "other"):
        await product.meeting(sid, min_fresh=3)
    run = prepare(product.parts, "default", product.parts.makers["default"])
    for left in ({SID, "other"}, {"other"}):
        found = await run.look()
        needs = iter(partial(found.next, lambda _need: True), None)
        assert {each.sid for each in needs if each is not None} == left
        run.leave(SID)


@pytest.mark.parametrize(
    ("skipped", "meetings", "stops"), [(0, 5, False), (1, 5, True), (0, 1, True), (0, 0, False)]
)
def test_pools_that_take_no_links_end_a_run(skipped: int, meetings: int, stops: bool) -> None:
    """The second of them does, or the only one there is."""
    run = World().run()
    run.skipped |= {f"m{n}" for n in range(skipped)}
    run.meetings = meetings
    run.leave(SID)
    assert run.stops is stops
    assert SID in run.skipped
    assert planned(run) == ["other"]


async def made(world: World, run: TopUp, *, probe: bool = False) -> list[Any]:
    """Make a link, and return the calls that were made for it."""
    run.start(need(probe=probe))
    assert (run.under_way.by_meeting[SID], len(run.under_way)) == (1, 1)
    await run.under_way.wait_for_all()
    await asyncio.sleep(0)
    assert (run.under_way.by_meeting[SID], run.under_way.suspects, len(run.under_way)) == (0, 0, 0)
    return world.said


async def test_a_link_goes_from_the_provider_to_the_ledger_and_the_pool() -> None:
    """It is counted, and shows that the meeting and the ledger work."""
    world = World()
    run = world.run()
    assert await made(world, run) == [
        ("make", SID, 5, False), ("write", SID, "epoch", "a-1"), "worked", ("received", SID, True)
    ]  # fmt: skip
    assert world.counts == {(SID, "added"): 1}
    assert (run.added, run.stops, run.looks_again, planned(run)) == (
        1,
        False,
        False,
        [SID, "other"],
    )


async def test_a_probe_that_succeeds_lifts_the_block() -> None:
    """The next plan takes that into account."""
    world = World()
    run = world.run()
    said = await made(world, run, probe=True)
    assert said[0] == ("make", SID, 5, True)
    assert said[-1] == ("block", SID, None)
    assert run.looks_again


async def test_a_link_that_is_added_lifts_the_workspaces_block() -> None:
    """The block is lifted once."""
    world = World()
    run = world.run()
    run.probing.block = BLOCK
    assert (await made(world, run))[-1] == ("workspace", "acme", None)
    assert run.looks_again
    world.said.clear()
    assert (await made(world, run))[-1] == ("received", SID, True)


@pytest.mark.parametrize(
    ("outcome", "blamed", "is_new", "left"),
    [
        ("duplicate", False, False, [SID, "other"]),
        ("duplicate", True, False, ["other"]),
        ("quarantined", False, True, ["other"]),
        ("fenced", True, True, [SID, "other"]),
    ],
)
async def test_a_link_that_enters_no_pool_lifts_no_block(
    outcome: str, blamed: bool, is_new: bool, left: list[str]
) -> None:
    """A meeting that repeats links, or whose pool takes none, is left out of the plan."""
    world = World()
    run = world.run()
    run.probing.block = BLOCK
    world.outcome = outcome
    world.blamed |= {SID} if blamed else set()
    assert await made(world, run, probe=True) == [
        ("make", SID, 5, True), ("write", SID, "epoch", "a-1"), "worked", ("received", SID, is_new)
    ]  # fmt: skip
    assert world.counts == {(SID, outcome): 1}
    assert (run.added, run.probing.block, run.looks_again, planned(run)) == (0, BLOCK, False, left)
    assert (SID in run.skipped) is (outcome == "quarantined")


@pytest.mark.parametrize("where", ["maker", "writer"])
async def test_a_ledger_that_is_away_ends_the_run_and_counts_one_failure(where: str) -> None:
    """That holds for any number of links under way, each of which is counted as lost."""
    world = World()
    run = world.run()
    if where == "maker":
        world.answer = LedgerUnavailable("away")
    else:
        world.outcome = LedgerUnavailable("away")
    await made(world, run)
    await made(world, run)
    assert run.stops
    assert world.said.count("failed") == 1
    assert world.counts == {(SID, "lost"): 2}
    assert run.added == 0


async def test_a_redis_that_is_away_ends_the_run() -> None:
    """No link was made."""
    world = World()
    run = world.run()
    world.answer = StoreUnavailable("Redis: away")
    assert await made(world, run) == [("make", SID, 5, False)]
    assert run.stops
    assert world.counts == {}


async def test_a_step_that_fails_in_an_unknown_way_leaves_its_meeting_out() -> None:
    """The others go on."""
    world = World()
    world.outcome = ValueError("?")
    run = world.run()
    await made(world, run, probe=True)
    assert run.skipped == {SID}
    assert planned(run) == ["other"]
    assert not run.stops


@pytest.mark.parametrize(
    ("error", "blamed", "blocks", "kind", "left", "looks", "lifted"),
    [
        (ProviderFailed("500", status=500), False, 0, None, [SID, "other"], False, False),
        (ProviderFailed("500", status=500), True, 0, "key", ["other"], False, False),
        (WorkspaceRefused("401", status=401), True, 1, None, ["other"], True, False),
        (MeetingRefused("404", status=404), True, 0, None, ["other"], False, False),
        # The key is good again: it is this meeting that is refused.
        (MeetingRefused("404", status=404), True, 0, "key", ["other"], True, True),
        (MeetingRefused("404", status=404), True, 0, "refused-404", ["other"], False, False),
        (MeetingRefused("404", status=404), True, 1, "key", ["other"], True, False),
        (BadAnswer("?"), False, 0, "key", [SID, "other"], False, False),
    ],
)
async def test_a_failure_changes_the_plan(
    error: ProviderError, blamed: bool, blocks: int, kind: str | None, left: list[str],
    looks: bool, lifted: bool,
) -> None:  # fmt: skip
    """The cause decides, and the former block of the workspace."""
    world = World()
    run = world.run()
    world.answer = error
    world.workspace_blocks = blocks
    world.blamed |= {SID} if blamed else set()
    run.probing.block = Block("?", 1, 2, kind) if kind else None
    await made(world, run)
    assert planned(run) == left
    assert (run.looks_again, run.stops, run.added) == (looks, False, 0)
    assert (("workspace", "acme", None) in world.said) is lifted
    if blocks and kind is None:
        run.looks_again = False
        await made(world, run)
        assert not run.looks_again, "a block is news once"


@pytest.mark.parametrize(("now", "due"), [(60_999, False), (61_000, True), (500, True)])
async def test_a_blocked_workspace_rests_until_its_probe_is_due(now: int, due: bool) -> None:
    """The probe is taken for a minute; none is while another link is under way."""
    world = World()
    probing = world.run().probing
    assert not await probing.rests(busy=False)
    assert probing.block is None
    world.block, world.now = BLOCK, now
    assert await probing.rests(busy=False) is not due
    assert probing.block == BLOCK
    taken = ("workspace", "acme", Block("refused", 1_000, now + 60_000, "refused-404", 4))
    assert world.said == [taken] * due
    assert await probing.rests(busy=True)
    assert world.said == [taken] * due


@pytest.mark.parametrize(("now", "due"), [(60_999, False), (61_000, True)])
async def test_a_probe_is_taken_once(now: int, due: bool) -> None:
    """The worker that postpones it makes it, and a lifted block needs none."""
    world = World()
    run = world.run()
    world.blocks_of[SID], world.now = BLOCK, now
    assert await run.probing.take(need(probe=True)) is due
    taken = ("block", SID, Block("refused", 1_000, now + 60_000, "refused-404", 4))
    assert world.said == [taken] * due
    assert await run.probing.take(need("other", probe=True))
    run.probing.block = BLOCK
    assert await run.probing.take(need(probe=True))
    assert world.said == [taken] * due


@pytest.mark.parametrize(
    ("empty", "again", "age", "due"),
    [
        (False, False, 0.9, False),
        (False, False, 1.0, True),
        (False, True, 0.0, True),
        (True, False, 0.0, True),
    ],
)
def test_when_the_levels_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, empty: bool, again: bool, age: float, due: bool
) -> None:
    """It looks again once the plan is done, old, or no longer right."""
    run = World().run()
    monkeypatch.setattr(top_up.time, "monotonic", lambda: 50.0 + age)
    run.plan = Plan() if empty else run.plan
    run.looks_again = again
    assert run.is_look_due(50.0, 1.0) is due


@pytest.mark.parametrize(("careful", "slots"), [(False, 8), (True, 1)])
def test_one_link_at_a_time_while_the_ledger_has_to_prove_itself(careful: bool, slots: int) -> None:
    """Otherwise as many are made as are configured."""
    world = World()
    world.patience.is_careful = careful
    assert world.run().slots == slots
