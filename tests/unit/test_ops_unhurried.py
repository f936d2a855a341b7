"""Test that live pages do not stand still while the ledger takes its time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pool.access.api_keys import Caller, Scope
from pool.api.ops.charts.windows import DEFAULT
from pool.api.ops.live.latest_incidents import LatestIncidents
from pool.api.ops.live.unhurried import Unhurried
from pool.api.ops.session.sessions import Session
from pool.errors import LedgerUnavailable
from pool.ledger import Ledger
from pool.model.incidents import Incident, What
from tests.unit.test_ops_pages import NOW

READER = Session(Caller("k", frozenset({Scope.READ}), None), "")


class Slow:
    """Something that is read, at once or only when the test lets it."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.free = asyncio.Event()
        self.free.set()
        self.asked = 0

    async def __call__(self, *_asked: object) -> Any:
        self.asked += 1
        await self.free.wait()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing waited for."""
    for module in ("unhurried", "latest_incidents"):
        monkeypatch.setattr(f"pool.api.ops.live.{module}.PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr("pool.api.ops.live.latest_incidents.KEPT_SECONDS", 0.0)


async def test_pages_of_one_meeting_share_a_reading() -> None:
    """Each gets the same reading, whichever of them asks first."""
    of = Slow("past")
    of.free.clear()
    pasts = Unhurried(SimpleNamespace(of=of, before=Slow(())))  # type: ignore[arg-type]
    pages = [asyncio.create_task(pasts.of("a", DEFAULT)) for _ in range(3)]
    await asyncio.sleep(0)
    of.free.set()
    assert await asyncio.gather(*pages) == [("past", ())] * 3
    assert of.asked == 1


async def test_what_was_read_for_a_page_that_is_gone_is_read_anew() -> None:
    """That holds however late a page asks again."""
    of, now = Slow("first"), [0.0]
    pasts = Unhurried(
        SimpleNamespace(of=of, before=Slow(())),  # type: ignore[arg-type]
        clock=lambda: now[0],
    )
    of.free.clear()
    assert await pasts.of("a", DEFAULT) == (None, ())
    of.free.set()
    await asyncio.sleep(0.01)  # it is read, and nobody looks
    of.found, now[0] = "second", 3_600.0
    assert await pasts.of("a", DEFAULT) == ("second", ())


async def test_a_slow_past_is_shown_as_it_was() -> None:
    """One question is asked however often the page wants it, and its answer comes later."""
    of = Slow("first")
    pasts = Unhurried(SimpleNamespace(of=of, before=Slow(())))  # type: ignore[arg-type]
    assert await pasts.of("a", DEFAULT) == ("first", ())
    of.free.clear()
    of.found = "second"
    for _ in range(3):
        assert await pasts.of("a", DEFAULT) == ("first", ())
    assert await pasts.of("b", DEFAULT) == (None, ()), "nothing is known of this one"
    assert of.asked == 3
    of.free.set()
    await asyncio.sleep(0.01)
    assert await pasts.of("a", DEFAULT) == ("second", ())
    of.found = LedgerUnavailable("locked")
    assert await pasts.of("a", DEFAULT) == (None, ()), "an old past is not shown as the present one"
    await pasts.close()


async def none(_kinds: object) -> list[Incident]:
    """Find nothing that stands."""
    return []


async def test_what_stands_comes_first_and_what_belongs_together_is_one(
    sqlite_ledger: Ledger,
) -> None:
    """A hundred changes of settings do not push a silent provider off the overview."""
    began = datetime.now(UTC) - timedelta(minutes=9)
    kept = sqlite_ledger.incidents
    await kept.begin(Incident(What.PROVIDER, "default", began, None, "silent"))
    await kept.begin(Incident(What.PAUSE, "z", began, None, "wrong calendar", ("z",)))
    for number in range(70):
        at, sid = began + timedelta(seconds=60 + number / 2), f"pool-{number}"
        await kept.add(Incident(What.SETTINGS, sid, at, at, "max_fresh 60", (sid,)))
    for number in range(3):
        at, sid = began + timedelta(seconds=200 + number), f"pool-{number}"
        await kept.begin(Incident(What.PAUSE, sid, at, None, "holiday", (sid,)))
    found = await LatestIncidents(sqlite_ledger).of(READER)
    assert [(each.what, len(each.sids or ())) for each in found] == [
        (What.PROVIDER, 0),
        (What.PAUSE, 3),
        (What.SETTINGS, 57),  # of the sixty entries that are read
    ]


async def test_the_latest_incidents_are_those_last_known() -> None:
    """They are shown while the ledger is slow or away, and the banner says so."""
    latest = Slow([Incident(What.SETTINGS, "a", NOW, NOW, "max_fresh")])
    ledger = SimpleNamespace(incidents=SimpleNamespace(latest=latest, standing=none))
    incidents = LatestIncidents(ledger)  # type: ignore[arg-type]
    known = await incidents.of(READER)
    assert [each.what for each in known] == [What.SETTINGS]
    latest.free.clear()
    latest.found = LedgerUnavailable("locked")
    assert await incidents.of(READER) == known
    latest.free.set()
    assert await incidents.of(READER) == known
    assert await incidents.of(READER) == known
    await incidents.close()


async def test_pages_that_are_drawn_together_share_what_is_latest() -> None:
    """Each gets the same reading, whichever of them asks first."""
    latest = Slow([Incident(What.SETTINGS, "a", NOW, NOW, "max_fresh")])
    latest.free.clear()
    ledger = SimpleNamespace(incidents=SimpleNamespace(latest=latest, standing=none))
    incidents = LatestIncidents(ledger)  # type: ignore[arg-type]
    pages = [asyncio.create_task(incidents.of(READER)) for _ in range(3)]
    await asyncio.sleep(0)
    latest.free.set()
    assert await asyncio.gather(*pages) == [latest.found] * 3
    assert latest.asked == 1
    await incidents.close()
