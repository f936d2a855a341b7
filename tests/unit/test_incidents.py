"""Test the incidents: one for each trouble, with its beginning, its end and its cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace as changed

from pool.durability.reopening import Recovered
from pool.ledger import Ledger
from pool.model.incidents import Incident, What, together
from pool.model.meetings import Meeting
from pool.model.outcomes import EVERYWHERE
from pool.operations.incident_words import title_of
from pool.store.records import Block
from tests.in_process import InProcess
from worker import incidents
from worker.recover import recover

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def incident(what: What = What.REDIS, about: str = "", **fields: object) -> Incident:
    values: dict[str, object] = {"began_at": AT, "ended_at": None, "text": "as a test"} | fields
    return Incident(what, about, **values)  # type: ignore[arg-type]


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


async def test_however_many_notice_it_is_one_incident(sqlite_ledger: Ledger) -> None:
    """It ends once, and a trouble that comes back within seconds is the same one."""
    kept = sqlite_ledger.incidents
    assert await kept.begin(incident())
    assert not await kept.begin(incident(began_at=after(1)))
    assert await kept.end(What.REDIS, "", after(8))
    assert not await kept.end(What.REDIS, "", after(9))
    assert await kept.begin(incident(began_at=after(20)))
    assert [each.began_at for each in await kept.standing()] == [AT]
    await kept.end(What.REDIS, "", after(30))
    assert await kept.begin(incident(began_at=after(300)))
    found = await kept.latest(10)
    assert [(each.began_at, each.ended_at) for each in found] == [
        (after(300), None),
        (AT, after(30)),
    ]


async def test_an_incident_gets_the_meetings_that_join_it(sqlite_ledger: Ledger) -> None:
    """The provider refuses a second meeting for the same reason."""
    kept = sqlite_ledger.incidents
    await kept.begin(incident(What.BLOCKED, "404", sids=("a",)))
    await kept.begin(incident(What.BLOCKED, "404", sids=("a", "b")))
    [found] = await kept.latest(10)
    assert found.sids == ("a", "b")
    assert found.concerns("b")
    assert not found.concerns("c")


async def test_old_incidents_are_deleted_and_standing_ones_are_not(sqlite_ledger: Ledger) -> None:
    """They are kept for 90 days."""
    kept = sqlite_ledger.incidents
    await kept.begin(incident(What.PAUSE, "a"))
    await kept.add(incident(What.SETTINGS, "a", ended_at=AT))
    await kept.add(incident(What.SETTINGS, "a", ended_at=AT))
    assert len(await kept.since(after(-1))) == 3
    assert await kept.prune(AT + timedelta(days=91)) == 2
    assert [each.what for each in await kept.latest(5)] == [What.PAUSE]


async def test_one_fence_over_many_pools_is_one_incident_and_one_act(product: InProcess) -> None:
    """It has the links it cost, and the visitors turned away until a moment later."""
    sids = [f"m-{number:02}" for number in range(12)]
    for sid in sids:
        await product.meeting(sid)
        await product.stock(sid, f"{sid}-1", f"{sid}-2")
    await product.redis.restart()
    await product.store.tallies.add({("m-01", "recovering"): 3})
    await recover(product.parts)
    await product.store.tallies.add({("m-02", "recovering"): 4})
    [act] = await product.ledger.audit.list()
    assert (act.action, act.meeting_sid) == ("recover", None)
    assert act.detail == {"pools": 12, "quarantined": 24}
    [fence] = await product.ledger.incidents.latest(10)
    assert (fence.what, fence.links_lost, fence.sids) == (What.FENCE, 24, tuple(sids))
    assert fence.ended_at is not None
    await incidents._settle(product.parts, fence.ended_at + timedelta(seconds=9))
    [fence] = await product.ledger.incidents.latest(10)
    assert (fence.turned_away, fence.baseline) == (4, None)
    assert await product.parts.recovery.recover("m-01") is Recovered.STANDS
    assert len(await product.ledger.audit.list()) == 1


async def test_blocks_and_dry_pools_are_noted_by_the_sweep(product: InProcess) -> None:
    """Thirty pools blocked for one reason are one incident; it ends when the last is free."""
    block = Block("the key was refused", 1_795_000_000_000, 0)
    meetings = {sid: Meeting(sid) for sid in ("a", "b", "c")}
    for sid in meetings:
        await product.meeting(sid)
    levels = await product.store.look(sorted(meetings))
    blocked = [changed(each, block=block) for each in levels[:2]]
    dry = changed(levels[2], claims_per_second=0.5)
    targets = dict.fromkeys(meetings, 50)
    await product.store.tallies.add({("c", "empty"): 2})
    await incidents.observe(product.parts, meetings, [*blocked, dry], targets)
    await incidents.observe(product.parts, meetings, [*blocked, dry], targets)
    found = {each.what: each for each in await product.ledger.incidents.latest(10)}
    assert set(found) == {What.BLOCKED, What.DRY}
    assert (found[What.BLOCKED].sids, found[What.BLOCKED].text) == (("a", "b"), block.reason)
    assert found[What.BLOCKED].began_at.timestamp() == 1_795_000_000
    assert (found[What.DRY].about, found[What.DRY].baseline) == ("c", 2)
    await product.store.tallies.add({("c", "empty"): 5})
    filled = [*levels[:2], changed(dry, fresh=10)]
    await incidents.observe(product.parts, meetings, filled, targets)
    assert await product.ledger.incidents.standing() == []
    await incidents._settle(product.parts, datetime.now(UTC) + timedelta(seconds=9))
    found = {each.what: each for each in await product.ledger.incidents.latest(10)}
    assert found[What.DRY].turned_away == 5
    assert (await product.store.tallies.totals([EVERYWHERE])).turned_away == 7


def test_pools_that_ran_dry_together_are_one_line() -> None:
    """Other incidents, and those at other times, are lines of their own."""
    dry = incident(What.DRY, "a", sids=("a",), ended_at=after(5), turned_away=2)
    found = [
        incident(),
        dry,
        replace(dry, about="b", sids=("b",), began_at=after(-20), ended_at=None, turned_away=3),
        replace(dry, about="c", sids=("c",), began_at=after(-900)),
    ]
    shown = together(found)
    assert [each.what for each in shown] == [What.REDIS, What.DRY, What.DRY]
    assert (shown[1].sids, shown[1].turned_away, shown[1].ended_at) == (("a", "b"), 5, None)
    assert shown[1].began_at == after(-20)
    assert together([]) == []
    assert title_of(shown[1]) == "Ran out of links: a, b"
    many = replace(dry, sids=("a", "b", "c", "d"))
    assert title_of(many) == "Ran out of links: a, b and 2 other pools"


def test_a_thousand_pools_that_a_person_paused_are_one_line() -> None:
    """They are one mark on a chart, and standing pauses are separate from ended ones."""
    paused = [
        incident(
            What.PAUSE,
            f"m{n}",
            text="flood",
            sids=(f"m{n}",),
            began_at=after(n / 1000),
            turned_away=1,
        )
        for n in reversed(range(1000))
    ]
    [one] = together(paused)
    assert (one.about, one.began_at, one.turned_away, one.ended_at) == ("", after(0), 1000, None)
    assert one.sids is not None
    assert len(one.sids) == 1000
    over = [replace(each, ended_at=after(60)) for each in paused[:2]]
    assert [len(each.sids or ()) for each in together(over + paused[2:])] == [2, 998]
