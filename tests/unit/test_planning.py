"""Test which meetings the next links are made for, and that none waits for ever."""

from __future__ import annotations

from pool.supply.planning import FAIR_EVERY, PROBE_EVERY, Need, Plan, plan


def test_a_pool_nobody_claims_from_gets_its_first_links_beside_a_busy_one() -> None:
    """The busy pool could take all the links there are."""
    needs = [Need("busy", "e", 0, 100_000, 500.0)]
    needs += [Need(f"idle-{n}", "e", 0, 20, 0.0) for n in range(10)]
    planned = [need.sid for need in plan(needs, 40)]
    assert {f"idle-{n}" for n in range(10)} <= set(planned)
    assert planned.count("busy") == 40 - 40 // FAIR_EVERY


def test_among_equals_nobody_is_always_first() -> None:
    """Some of two hundred equally empty pools may be refused."""
    needs = [Need(f"m{n}", "e", 0, 20, 0.0) for n in range(200)]
    assert len({plan(needs, 1)[0].sid for _ in range(20)}) > 5
    assert len({need.sid for need in plan(needs, 200)}) == 200


def test_probes_take_few_of_the_turns() -> None:
    """Of all due probes one is made at once, then one in PROBE_EVERY turns.

    All of them are made when nothing else is wanted.
    """
    links = [Need("a", "e", 0, 30, 0.0)] * 30
    probes = [Need(f"bad-{n}", "e", 0, 5, 0.0, probe=True) for n in range(50)]
    planned = Plan(links, probes)
    taken = [planned.next(lambda _: True) for _ in range(30)]
    assert sum(need is not None and need.probe for need in taken) == 30 // PROBE_EVERY
    assert Plan([], probes).next(lambda _: True) == probes[0]


def test_a_plan_that_is_replaced_often_lets_probes_take_no_more() -> None:
    """The rhythm goes on."""
    probes = [Need(f"bad-{n}", "e", 0, 5, 0.0, probe=True) for n in range(50)]
    before, taken = Plan(), []
    for _ in range(30):
        planned = Plan([Need("a", "e", 0, 30, 0.0)], probes)
        planned.follow(before)
        taken.append(planned.next(lambda _: True))
        before = planned
    assert sum(need is not None and need.probe for need in taken) == 30 // PROBE_EVERY


def test_who_may_not_start_keeps_nobody_waiting() -> None:
    """The next in line goes first."""
    planned = Plan([Need("slow", "e", 0, 9, 0.0), Need("a", "e", 0, 9, 0.0)])
    first = planned.next(lambda need: need.sid != "slow")
    assert first is not None
    assert first.sid == "a"
    assert planned.next(lambda need: need.sid != "slow") is None
    assert planned


def test_nothing_more_is_planned_for_a_meeting_that_is_dropped() -> None:
    """It was refused."""
    planned = Plan([Need("bad", "e", 0, 9, 0.0)] * 3 + [Need("a", "e", 0, 9, 0.0)])
    planned.drop("bad")
    need = planned.next(lambda _: True)
    assert need is not None
    assert need.sid == "a"
    assert not planned
