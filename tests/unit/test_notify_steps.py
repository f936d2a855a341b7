"""Test what a sweep notes for the notices: every kind of trouble, from where it is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pool.errors import LedgerUnavailable
from pool.model.meetings import Meeting
from pool.store.records import Block, Level, Totals
from worker import notify

BLOCK = Block("refused", 1, 2)


def level(sid: str, **fields: Any) -> Level:
    values: dict[str, Any] = {
        "sid": sid, "fresh": 9, "fence": "stands", "epoch": "e", "backlog": 0,
        "claims_per_second": 0.0, "oldest_fresh_seconds": None, "block": None, "published": "",
        "target": None, "now_ms": 1, "totals": Totals(),
    }  # fmt: skip
    return Level(**values | fields)


@dataclass
class World:
    """The parts that know of troubles; everything that is noted is kept."""

    unmatched: int = 0
    dead: int = 0
    blocks_of: dict[str, Block] = field(default_factory=dict)
    standing: dict[str, bytes] = field(default_factory=dict)
    fence_fell: bool = False
    due: bool = False
    new_notices: int = 0
    error: Exception | None = None
    sweep_seconds: float = 5.0
    noted: dict[str, str] = field(default_factory=dict)
    notifier: Any = field(default_factory=lambda: SimpleNamespace(deliver=None))

    async def look(self, now_ms: int) -> Any:
        assert now_ms > 1_600_000_000_000
        return SimpleNamespace(standing=self.standing, due=self.due, fence_fell=self.fence_fell)

    async def count(self, state: str) -> int:
        if self.error is not None:
            raise self.error
        return {"unmatched": self.unmatched, "dead": self.dead}[state]

    async def of_workspace(self, name: str) -> Block | None:
        return self.blocks_of.get(name)

    async def observe(self, outbox: Any, readings: list[Any], now_ms: int) -> int:
        assert outbox.standing is self.standing
        assert now_ms > 1_600_000_000_000
        self.noted = {
            f"{each.kind.name.lower()} {each.about}".strip(): each.sign for each in readings
        }
        return self.new_notices

    @property
    def parts(self) -> Any:
        return SimpleNamespace(
            notifier=self.notifier,
            store=SimpleNamespace(alerts=self, blocks=self),
            ledger=SimpleNamespace(inbox=self),
            settings=SimpleNamespace(
                sweep_seconds=self.sweep_seconds, workspaces={"acme": None, "other": None}
            ),
        )

    async def run(self, *levels: Level) -> bool:
        meetings = {each.sid: Meeting(each.sid) for each in levels}
        return await notify.observe(self.parts, meetings, levels, {each.sid: 3 for each in levels})


@pytest.fixture
def kinds() -> dict[str, str]:
    """Return the readings of a product without any trouble."""
    return {
        "lag": "over", "unmatched": "over", "dead": "over", "fence": "over", "worker": "over",
        "blocked workspace acme": "over", "blocked workspace other": "over",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "levels", "changed"),
    [
        ({}, [level("a")], {}),
        ({"unmatched": 1}, [], {"unmatched": "there"}),
        ({"dead": 1}, [], {"dead": "there"}),
        ({"sweep_seconds": 3_600.0}, [], {}),  # however seldom: it sweeps right now
        ({"fence_fell": True}, [], {"fence": "there"}),
        ({"blocks_of": {"other": BLOCK}}, [], {"blocked workspace other": "there"}),
        ({}, [level("a", fence="fallen")], {"fence": "there"}),
        ({}, [level("a", fresh=0)], {"empty a": "there"}),
        ({}, [level("a", block=BLOCK)], {"blocked a": "there"}),
        (
            {},
            [level("a", backlog=600), level("b", backlog=600)],
            {"lag": "there"},
        ),
    ],
)
async def test_every_trouble_is_noted(
    kinds: dict[str, str], fields: dict[str, Any], levels: list[Level], changed: dict[str, str]
) -> None:
    """Each of the others is noted as over."""
    world = World(**fields)
    assert not await world.run(*levels)
    assert world.noted == kinds | changed


async def test_a_pools_trouble_that_stands_is_noted_until_it_is_over() -> None:
    """Pools without one are not mentioned."""
    world = World()
    await world.run(level("a", fresh=0), level("b"))
    [name] = [each for each in world.noted if each.startswith("empty")]
    assert name == "empty a"


@pytest.mark.parametrize(
    ("new", "due", "asks"), [(0, False, False), (1, False, True), (0, True, True)]
)
async def test_notices_are_asked_for_when_one_waits(new: int, due: bool, asks: bool) -> None:
    """A new one, or one to be tried again."""
    assert await World(new_notices=new, due=due).run() is asks


async def test_a_ledger_that_is_away_stops_no_sweep() -> None:
    """Nothing is noted then, nor where nobody is to be notified."""
    world = World(error=LedgerUnavailable("away"), due=True)
    assert await world.run() is False
    assert world.noted == {}
    assert await World(notifier=None, due=True).run() is False


async def test_notices_are_delivered_where_somebody_is_to_be_notified() -> None:
    """The number of those sent is returned."""

    async def deliver() -> int:
        return 3

    assert await notify.deliver(World(notifier=SimpleNamespace(deliver=deliver)).parts) == 3
    assert await notify.deliver(World(notifier=None).parts) == 0
