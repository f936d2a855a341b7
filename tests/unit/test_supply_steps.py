"""Test the small steps of making links: rests, blame, blocks, probes and plans, at their bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pool.errors import (
    BadAnswer,
    LedgerUnavailable,
    MeetingRefused,
    ProviderError,
    ProviderFailed,
    StoreUnavailable,
    Throttled,
    WorkspaceRefused,
)
from pool.model.forecast import NO_PAST
from pool.model.meetings import Meeting
from pool.store.records import Block, Level
from pool.supply.blame import Blame, Troubles, kind_of
from pool.supply.link_maker import LinkMaker, Patience
from pool.supply.planning import Need, Plan, plan, workspace_probe
from pool.supply.targets import targets
from tests.in_process import InProcess

FAILED = ProviderFailed("500", status=500)
THROTTLED = Throttled("429", retry_after_seconds=30.0)


# -- a rest after links that the ledger did not take ----------------------------------------


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (99, 60)]
)
def test_a_rest_doubles_with_each_failure_up_to_a_minute(failures: int, seconds: int) -> None:
    """It ends to the second; afterwards one link must show that it is over."""
    clock = [100.0]
    patience = Patience(lambda: clock[0])
    for _ in range(failures):
        patience.failed()
    clock[0] += seconds - 0.01
    assert patience.rests
    clock[0] += 0.01
    assert not patience.rests
    assert patience.is_careful
    patience.worked()
    assert not patience.is_careful
    patience.failed()
    clock[0] += 1.99
    assert patience.rests
    clock[0] += 0.01
    assert not patience.rests


def test_who_never_failed_need_not_rest() -> None:
    """The clock does not matter."""
    patience = Patience(lambda: -1.0)
    assert not patience.rests
    assert not patience.is_careful


# -- blame ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WorkspaceRefused("401", status=401), "key"),
        (WorkspaceRefused("403", status=403), "key"),
        (MeetingRefused("404", status=404), "refused-404"),
        (MeetingRefused("422", status=422), "refused-422"),
        (THROTTLED, "throttled"),
        (FAILED, "failed"),
        (BadAnswer("?"), "bad-answer"),
    ],
)
def test_failures_are_alike_by_their_kind(error: ProviderError, kind: str) -> None:
    """Refusals of one status, and passing failures."""
    assert kind_of(error) == kind


def test_fewer_links_of_the_neighbours_prove_nothing() -> None:
    """Two are chance, three are not; a meeting that never failed is not on its own."""
    troubles = Troubles()
    troubles.failed("bad", "failed", final=False, meetings=None)
    for number, expected in ((1, False), (2, False), (3, True)):
        troubles.worked(f"good-{number}")
        assert troubles.is_own("bad") is expected
    assert not troubles.is_own("good-1")


def test_a_meeting_is_suspect_from_the_second_429_or_once_it_is_blamed() -> None:
    """A single refusal is enough, if it is final."""
    troubles = Troubles()
    troubles.throttled("slow")
    assert not troubles.is_suspect("slow")
    troubles.throttled("slow")
    assert troubles.is_suspect("slow")
    assert not troubles.is_blamed("slow")
    troubles.failed("gone", "refused-404", final=True, meetings=None)
    assert troubles.is_suspect("gone")
    troubles.failed("once", "failed", final=False, meetings=None)
    assert not troubles.is_suspect("once")
    assert not troubles.is_blamed("once")
    assert not troubles.is_blamed("never")


@pytest.mark.parametrize(("well", "blame"), [(2, Blame.WORKSPACE), (3, Blame.MEETING)])
def test_half_of_those_tried_are_not_more_than_half(well: int, blame: Blame) -> None:
    """Three of five that fail alike are the workspace's fault, three of six are not."""
    troubles = Troubles()
    for number in range(well):
        troubles.worked(f"good-{number}")
    blames = [
        troubles.failed(f"m{n}", "refused-404", final=True, meetings=3 + well) for n in range(3)
    ]
    assert blames[-1] is blame


def test_only_the_last_ten_tried_count() -> None:
    """A hundred links long ago say nothing about the workspace now."""
    troubles = Troubles()
    for number in range(100):
        troubles.worked(f"good-{number}")
    blames = [troubles.failed(f"m{n}", "refused-404", final=True, meetings=100) for n in range(6)]
    assert blames == [Blame.MEETING] * 5 + [Blame.WORKSPACE]


def test_a_meeting_that_is_tried_again_counts_once() -> None:
    """Its last result counts."""
    troubles = Troubles()
    for _ in range(20):
        assert troubles.failed("a", "refused-404", final=True, meetings=3) is Blame.MEETING
        assert troubles.failed("b", "refused-404", final=True, meetings=3) is Blame.MEETING
    troubles.worked("a")
    assert troubles.failed("c", "refused-404", final=True, meetings=3) is Blame.MEETING
    assert troubles.failed("a", "refused-404", final=True, meetings=3) is Blame.WORKSPACE


@pytest.mark.parametrize("links", [9, 10])
def test_nine_links_of_the_others_are_too_few_to_blame_a_meeting_for_its_429s(links: int) -> None:
    """Ten are enough, from its third on."""
    troubles = Troubles()
    assert troubles.throttled("bad") is Blame.NOBODY
    for number in range(links):
        troubles.worked(f"m{number}")
    assert troubles.throttled("bad") is Blame.NOBODY
    blame = troubles.throttled("bad")
    assert blame is (Blame.MEETING if links == 10 else Blame.NOBODY)
    assert troubles.is_blamed("bad") is (links == 10)


def test_a_429_of_a_meeting_that_failed_before_clears_nobody() -> None:
    """Only a meeting that was well until then shows that the pace is the cause."""
    troubles = Troubles()
    troubles.worked("other")
    troubles.failed("other", "failed", final=False, meetings=None)
    troubles.throttled("bad")
    for number in range(10):
        troubles.worked(f"m{number}")
    troubles.throttled("other")
    troubles.throttled("bad")
    assert troubles.throttled("bad") is Blame.MEETING


def test_a_429_of_a_meeting_that_was_well_clears_the_others() -> None:
    """Their count begins anew, and so does the number of links that the others got."""
    troubles = Troubles()
    troubles.throttled("bad")
    for number in range(10):
        troubles.worked(f"m{number}")
    troubles.throttled("m0")
    for _ in range(20):
        assert troubles.throttled("bad") is Blame.NOBODY
    for number in range(10):
        troubles.worked(f"n{number}")
    assert troubles.throttled("bad") is Blame.MEETING


# -- what a failure leaves -----------------------------------------------------------------


def maker(product: InProcess) -> LinkMaker:
    return product.parts.makers["default"]


async def fails(product: InProcess, sid: str, error: ProviderError, times: int = 1) -> None:
    """Make links that come to this."""
    product.provider.will(sid, *[error] * times)
    for _ in range(times):
        with pytest.raises(type(error)):
            await maker(product).make_now(sid)


@pytest.mark.parametrize(
    ("error", "times", "kind"),
    [
        (MeetingRefused("404", status=404), 1, "refused-404"),
        (FAILED, 8, "failed"),
        (BadAnswer("?"), 8, "bad-answer"),
    ],
)
async def test_a_block_says_what_kind_of_failure_it_is_for(
    product: InProcess, error: ProviderError, times: int, kind: str
) -> None:
    """It has the provider's reason, and its next probe after `probe_seconds`."""
    await product.meeting("bad")
    await fails(product, "bad", error, times)
    block = (await product.level("bad")).block
    assert block is not None
    assert (block.kind, block.reason, block.probes) == (kind, str(error), 0)
    probe_seconds = product.parts.settings.probe_seconds
    assert block.probe_at_ms - block.since_ms == probe_seconds * 1000
    assert maker(product).workspace_blocks == 0


async def test_a_meeting_that_alone_gets_429s_is_blocked_and_the_pace_stays(
    product: InProcess,
) -> None:
    """The block says that it is for this meeting alone."""
    await product.meeting("bad")
    for sid in ("m1", "m2"):
        await product.meeting(sid)
    await fails(product, "bad", THROTTLED)
    for number in range(10):
        await maker(product).make_now(f"m{number % 2}")
        await maker(product).received(f"m{number % 2}", is_new=True)
    await fails(product, "bad", THROTTLED)
    slowed = await product.budget("bad")
    assert slowed > 0
    await product.redis.bare.delete(
        *[key async for key in product.redis.bare.scan_iter("*budget*")]
    )
    await fails(product, "bad", THROTTLED)
    assert await product.budget("bad") == 0
    block = (await product.level("bad")).block
    assert block is not None
    assert block.kind == "throttled"
    assert block.reason == "429, for this meeting alone"


async def test_links_that_are_repeated_block_the_meeting_with_their_kind(
    product: InProcess,
) -> None:
    """The reason is in plain words."""
    await product.meeting("bad")
    for _ in range(8):
        await maker(product).received("bad", is_new=False)
    block = (await product.level("bad")).block
    assert block is not None
    assert block.kind == "repeated"
    assert "gave before" in block.reason


async def test_the_workspaces_block_is_counted_and_has_its_kind(product: InProcess) -> None:
    """There are two kinds: for the key, and for several meetings that fail alike."""
    for sid in ("a", "b", "c"):
        await product.meeting(sid)
    await fails(product, "a", WorkspaceRefused("401", status=401))
    block = await product.store.blocks.of_workspace("default")
    assert block is not None
    assert block.kind == "key"
    assert maker(product).workspace_blocks == 1
    await product.store.blocks.put_workspace("default", None)
    error = MeetingRefused("404", status=404)
    product.provider.always(error)
    for sid in ("a", "b", "c"):
        with pytest.raises(MeetingRefused):
            await maker(product).make_now(sid, meetings=3)
    block = await product.store.blocks.of_workspace("default")
    assert block is not None
    assert (block.kind, block.reason) == ("refused-404", "404 (so for several meetings)")
    assert maker(product).workspace_blocks == 2


async def test_a_probe_that_fails_says_nothing_about_the_workspace(product: InProcess) -> None:
    """Failures of links with an unknown number of meetings do not, either."""
    product.provider.always(MeetingRefused("404", status=404))
    for sid in ("a", "b", "c"):
        await product.meeting(sid)
        for how in ({"meetings": 3, "probe": True}, {}):
            options: dict[str, Any] = how
            with pytest.raises(MeetingRefused):
                await maker(product).make_now(sid, **options)
    assert await product.store.blocks.of_workspace("default") is None


@pytest.mark.parametrize("neighbours", [0, 3])
async def test_failures_of_one_meeting_alone_do_not_reach_the_budget(
    product: InProcess, neighbours: int
) -> None:
    """Refusals do not, either, but failures for all do."""
    await product.meeting("bad")
    await fails(product, "bad", FAILED)
    assert await product.budget("failures") == 1
    for _ in range(neighbours):
        await maker(product).make_now("good")
        await maker(product).received("good", is_new=True)
    before = await product.budget("failures")
    await fails(product, "bad", FAILED)
    assert await product.budget("failures") == before + (0 if neighbours else 1)
    await fails(product, "gone", MeetingRefused("404", status=404))
    assert await product.budget("failures") == before + (0 if neighbours else 1)


# -- plans ------------------------------------------------------------------------------


def need(sid: str, fresh: int = 0, target: int = 10, rate: float = 0.0, **more: Any) -> Need:
    return Need(sid, "e", fresh, target, rate, **more)


def test_a_blocked_workspace_is_probed_by_one_meeting_after_the_other() -> None:
    """Well ones and any take turns, and none is asked twice in a row."""
    needs = [need("a"), need("b", probe=True), need("c")]

    def probing(probes: int, among: list[Need]) -> list[str]:
        return [each.sid for each in workspace_probe(among, Block("r", 0, 0, "key", probes))]

    assert [probing(n, needs) for n in range(8)] == [
        ["a"], ["a"], ["c"], ["b"], ["a"], ["c"], ["c"], ["a"],
    ]  # fmt: skip
    assert [probing(n, needs[1:2]) for n in range(3)] == [["b"]] * 3
    assert probing(0, []) == []


def test_a_plan_is_lone_if_one_meeting_wants_links() -> None:
    """That meeting may have all slots."""
    assert Plan([need("a"), need("a")]).lone
    assert Plan([]).lone
    assert not Plan([need("a"), need("b")]).lone
    assert not Plan([])
    assert Plan([], [need("p", probe=True)])


@pytest.mark.parametrize(("fresh", "planned"), [(9, 1), (10, 0), (11, 0), (0, 10)])
def test_no_more_is_planned_than_is_missing(fresh: int, planned: int) -> None:
    """Plans reach up to the target, and never beyond it."""
    assert len(plan([need("a", fresh)], 1_000)) == planned
    assert len(plan([need("a", fresh)], 3)) == min(3, planned)


def test_the_runway_counts_before_how_full_a_pool_is() -> None:
    """A pool without claims runs dry last; of two of those the emptier comes first."""
    assert need("a", 5, 10, 1.0).urgency < need("b", 5, 10, 0.5).urgency < need("c").urgency
    assert need("a", 1).urgency < need("b", 2).urgency
    assert need("a", 3, 10, 2.0).urgency == (1.5, 0.3)
    assert need("a", 3, 10).urgency[0] > 1e11
    assert need("a", 3, 10, 9.0).emptiness == (3, 0.3)
    assert need("a", 2, 4).emptiness < need("b", 3, 1_000).emptiness
    assert need("a", 2, 40).emptiness < need("b", 2, 4).emptiness


def test_probes_begin_at_once_and_come_again_after_ten_turns() -> None:
    """Links that may not start do not count as turns, and probes that may not do not either."""
    planned = Plan([need("a", target=99)] * 40, [need(f"p{n}", probe=True) for n in range(9)])
    turns = [planned.next(lambda _: True) for _ in range(22)]
    assert [n for n, each in enumerate(turns) if each is not None and each.probe] == [0, 10, 20]
    waits = Plan([need("a", target=99)] * 40, [need("p", probe=True)])
    first = [waits.next(lambda each: not each.probe) for _ in range(5)]
    assert [each.sid for each in first if each] == ["a"] * 5
    assert (waits.next(lambda _: True) or need("none")).sid == "p"
    assert waits.next(lambda each: each.probe) is None


async def test_a_target_is_asked_for_with_the_time_of_redis_in_seconds(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It uses the meeting's rate, and its outlook only if it follows the forecast."""
    asked: list[tuple[Any, ...]] = []

    def noted(meeting: Meeting, rate: float, now_seconds: float, outlook: object) -> int:
        asked.append((meeting.sid, rate, now_seconds, outlook))
        return len(asked)

    monkeypatch.setattr("pool.supply.targets.target", noted)
    auto = await product.meeting("auto", target_mode="auto")
    plain = await product.meeting("plain")
    levels: list[Level] = await product.store.look(["auto", "plain"])
    wanted = await targets(product.store, {"auto": auto, "plain": plain}, levels)
    assert wanted == {"auto": 1, "plain": 2}
    assert [each[:3] for each in asked] == [
        (level.sid, level.claims_per_second, level.now_ms / 1000) for level in levels
    ]
    assert asked[1][3] is NO_PAST
    assert abs(asked[0][2] - datetime.now(UTC).timestamp()) < 60


# -- top-up ---------------------------------------------------------------------------------


async def away(_links: object) -> set[str]:
    raise LedgerUnavailable("away")


@pytest.mark.parametrize("product", [{"provider_concurrency": 6}], indirect=True)
async def test_a_ledger_that_lost_links_is_tried_with_one(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many lost at once are one failure: two seconds of rest, then one link, then all again."""
    clock = [100.0]
    patience = maker(product).patience = Patience(lambda: clock[0])
    await product.meeting("intro", min_fresh=30, max_fresh=30)
    product.provider.seconds = 0.01
    insert = product.ledger.links.insert_fresh
    monkeypatch.setattr(product.ledger.links, "insert_fresh", away)
    await product.top_up()
    burnt = len(product.provider.asked)
    assert 2 <= burnt <= 6
    assert product.counted("intro", "lost") == burnt
    clock[0] += 1.99
    await product.top_up()
    assert len(product.provider.asked) == burnt, "it rests"
    clock[0] += 0.01
    product.provider.most_under_way = 0
    await product.top_up()
    assert len(product.provider.asked) == burnt + 1
    assert product.provider.most_under_way == 1
    clock[0] += 3.99
    assert patience.rests
    clock[0] += 0.01
    monkeypatch.setattr(product.ledger.links, "insert_fresh", insert)
    await product.top_up()
    assert len(await product.pooled("intro")) == 30
    assert product.provider.most_under_way > 1
    assert not patience.is_careful


async def test_of_several_probes_the_one_due_first_is_made_first(product: InProcess) -> None:
    """One that is not due is not made."""
    now_ms = await product.store.now_ms()
    for sid, due_ms in (("a", 3_000), ("b", 1_000), ("c", 2_000), ("d", -30_000)):
        await product.meeting(sid, min_fresh=1, max_fresh=1)
        await product.store.blocks.put(sid, Block("404", 0, now_ms - due_ms, "refused-404"))
    product.provider.always(MeetingRefused("404", status=404))
    await product.top_up()
    assert product.provider.asked == ["b", "c", "a"] or product.provider.asked == ["a", "c", "b"]
    due = {sid: -due_ms for sid, due_ms in (("a", 3_000), ("b", 1_000), ("c", 2_000))}
    assert product.provider.asked == sorted(due, key=lambda sid: due[sid])


async def test_a_probe_that_another_worker_took_is_not_made(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next probe is not postponed again, and one of a lifted block is made."""
    await product.meeting("a", min_fresh=1, max_fresh=1)
    now_ms = await product.store.now_ms()
    block = Block("404", 0, now_ms - 1_000, "refused-404", 3)
    await product.store.blocks.put("a", block)
    theirs, of = block.probed(now_ms, 30.0), product.store.blocks.of

    async def taken(sid: str) -> Block | None:
        await product.store.blocks.put(sid, theirs)
        return await of(sid)

    async def lifted(sid: str) -> Block | None:
        await product.store.blocks.put(sid, None)
        return await of(sid)

    monkeypatch.setattr(product.store.blocks, "of", taken)
    await product.top_up()
    assert product.provider.asked == []
    assert await of("a") == theirs
    await product.store.blocks.put("a", block)
    monkeypatch.setattr(product.store.blocks, "of", lifted)
    await product.top_up()
    assert product.provider.asked == ["a"]
    assert await of("a") is None
    assert len(await product.pooled("a")) == 1


async def test_a_probe_is_counted_and_put_off_before_it_is_made(product: InProcess) -> None:
    """That holds for meetings and workspaces, so a worker that dies has made it."""
    await product.meeting("a", min_fresh=1, max_fresh=1)
    now_ms = await product.store.now_ms()
    probe_seconds = product.parts.settings.probe_seconds
    seen: list[Block | None] = []

    async def look() -> ProviderError:
        seen.append(await product.store.blocks.of("a"))
        seen.append(await product.store.blocks.of_workspace("default"))
        return FAILED

    await product.store.blocks.put("a", Block("404", 0, now_ms - 1_000, "refused-404", 3))
    product.provider.will("a", look)
    await product.top_up()
    block, workspace = seen
    assert workspace is None
    assert block is not None
    assert block.probes == 4
    assert abs(block.probe_at_ms - now_ms - probe_seconds * 1000) < 30_000
    await product.store.blocks.put("a", None)
    seen.clear()
    await product.store.blocks.put_workspace("default", Block("401", 0, now_ms - 1_000, "key", 7))
    product.provider.will("a", look)
    await product.top_up()
    block, workspace = seen
    assert workspace is not None
    assert (workspace.probes, workspace.reason) == (8, "401")
    assert workspace.probe_at_ms > now_ms


async def test_targets_are_published_where_they_changed(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unchanged targets are not published."""
    for sid, links in (("same", 0), ("changed", 0)):
        await product.meeting(sid, min_fresh=links)
    await product.ledger.meetings.put(Meeting("changed", min_fresh=2, max_fresh=2))
    published: list[dict[str, int]] = []
    set_targets = product.store.published.set_targets

    async def noted(given: dict[str, int]) -> None:
        published.append(dict(given))
        await set_targets(given)

    monkeypatch.setattr(product.store.published, "set_targets", noted)
    await product.top_up()
    assert published[0] == {"changed": 2}
    assert all(each == {} for each in published[1:])
    assert (await product.level("changed")).target == 2


@pytest.mark.parametrize(("meetings", "stops"), [(1, True), (3, False)])
async def test_a_pool_that_takes_no_links_is_left_out(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, meetings: int, stops: bool
) -> None:
    """The run ends if it is the only one; the others are filled."""
    for number in range(meetings):
        await product.meeting(f"m{number}", min_fresh=20, max_fresh=20)
    add = product.store.add

    async def refused(sid: str, *args: Any) -> int:
        if sid == "m0":
            raise StoreUnavailable("Redis: WRONGTYPE")
        return await add(sid, *args)

    monkeypatch.setattr(product.store, "add", refused)
    await product.top_up()
    asked = product.provider.requests()
    assert 1 <= asked["m0"] < 20
    for number in range(1, meetings):
        assert asked[f"m{number}"] == 20
    assert stops or len(await product.pooled("m1")) == 20
