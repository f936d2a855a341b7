"""Test incidents to the letter: when one goes on, how it grows, and which are listed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pool.ledger import Ledger
from pool.model.incidents import Incident, What
from tests.integration.ledger_samples import NOW

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


def incident(what: What = What.REDIS, about: str = "", **fields: Any) -> Incident:
    values: dict[str, Any] = {"began_at": NOW, "ended_at": None, "text": "first"} | fields
    return Incident(what, about, **values)


async def of_all(ledger: Ledger) -> list[Incident]:
    return [replace(each, id=0) for each in await ledger.incidents.latest(99)]


@pytest.mark.parametrize(("later", "goes_on"), [(30 * SECOND, True), (30_001 * MILLISECOND, False)])
async def test_a_trouble_that_comes_back_within_half_a_minute_goes_on(
    sqlite_ledger: Ledger, later: timedelta, goes_on: bool
) -> None:
    """The incident has the meetings of both, and the last reason."""
    kept, end = sqlite_ledger.incidents, NOW + MINUTE
    first = incident(sids=("a", "c"), links_lost=3, turned_away=4, baseline=5)
    assert await kept.begin(first)
    assert await kept.begin(incident(about="other"))
    assert await kept.begin(incident(What.LEDGER))
    assert not await kept.end(What.REDIS, "unknown", end)
    assert await kept.end(What.REDIS, "", end)
    again = incident(began_at=end + later, text="second", sids=("b",))
    assert await kept.begin(again) is True
    others = [incident(What.LEDGER), incident(about="other")]
    if goes_on:
        assert await of_all(sqlite_ledger) == [
            *others, replace(first, sids=("a", "b", "c"), text="second"),
        ]  # fmt: skip
        assert await kept.begin(replace(again, text="third")) is False
        assert (await of_all(sqlite_ledger))[2].text == "second"
        assert await kept.begin(replace(again, sids=None, text="fourth")) is False
        assert (await of_all(sqlite_ledger))[2] == replace(first, sids=None, text="fourth")
    else:
        assert await of_all(sqlite_ledger) == [again, *others, replace(first, ended_at=end)]


@pytest.mark.parametrize(
    ("apart", "what", "grows"),
    [
        (30 * SECOND, What.FENCE, True),
        (30_001 * MILLISECOND, What.FENCE, False),
        (0 * SECOND, What.SETTINGS, False),
    ],
)
async def test_what_is_over_grows_by_what_touches_it(
    sqlite_ledger: Ledger, apart: timedelta, what: What, grows: bool
) -> None:
    """It spans from the first beginning to the last end, with the meetings and losses of both."""
    kept, end = sqlite_ledger.incidents, NOW + MINUTE
    first = incident(what, ended_at=end, sids=("b",), links_lost=2, turned_away=1)
    await kept.add(first)
    await kept.add(replace(first, about="other"))
    later = incident(
        what, began_at=end + apart, ended_at=end + apart + MINUTE, text="second", sids=("a",),
        links_lost=3, turned_away=7, baseline=9,
    )  # fmt: skip
    await kept.add(later)
    found = [each for each in await of_all(sqlite_ledger) if not each.about]
    if not grows:
        assert found == [later, first]
        return
    grown = replace(
        first, ended_at=later.ended_at, sids=("a", "b"), links_lost=5, baseline=9
    )  # fmt: skip
    assert found == [grown]
    # One that lies within it, or began before it, and whose baseline comes second.
    early = incident(what, began_at=NOW - MINUTE, ended_at=NOW, sids=None, baseline=1, links_lost=1)
    await kept.add(early)
    found = [each for each in await of_all(sqlite_ledger) if not each.about]
    assert found == [replace(grown, began_at=NOW - MINUTE, sids=None, links_lost=6)]


async def test_what_an_incident_cost_is_added_and_settled(sqlite_ledger: Ledger) -> None:
    """Other incidents do not change."""
    kept = sqlite_ledger.incidents
    for about in ("a", "b"):
        await kept.begin(incident(about=about, links_lost=2, baseline=3))
    one, other = await kept.standing()
    await kept.settle(one.id, 5, 4)
    await kept.settle(one.id, 5)
    found = await kept.standing()
    assert found == [replace(one, turned_away=5, links_lost=6, baseline=None), other]


async def test_incidents_are_listed_by_whether_they_stand_and_since_when(
    sqlite_ledger: Ledger,
) -> None:
    """The latest first, of those that began at once the last that was noted."""
    kept = sqlite_ledger.incidents
    await kept.begin(incident(What.DRY, "c", began_at=NOW + SECOND))
    await kept.begin(incident(What.DRY, "a"))
    await kept.begin(incident(What.PAUSE, "b"))
    for about, began, ended, baseline in (("d", 5, 10, 1), ("e", 6, 20, 1), ("f", 7, 10, None)):
        await kept.add(
            incident(
                What.BLOCKED, about, began_at=NOW + began * SECOND, ended_at=NOW + ended * SECOND,
                baseline=baseline,
            )
        )  # fmt: skip

    def names(found: list[Incident]) -> str:
        return "".join(each.about for each in found)

    assert names(await kept.latest(99)) == "fedcba"
    assert names(await kept.latest(2)) == "fe"
    assert names(await kept.standing()) == "cba"
    assert names(await kept.standing([What.PAUSE, What.BLOCKED])) == "b"
    assert await kept.standing([]) == []
    ended, since = NOW + 10 * SECOND, NOW + 5 * SECOND
    assert names(await kept.unsettled(ended, since)) == ""
    assert names(await kept.unsettled(ended + MILLISECOND, since)) == "d"
    assert names(await kept.unsettled(ended + MILLISECOND, since + MILLISECOND)) == ""
    assert names(await kept.since(ended)) == "fedcba"
    assert names(await kept.since(ended + MILLISECOND)) == "ecba"
    assert names(await kept.since(ended, limit=2)) == "fe"
    assert names(await kept.since(NOW + 90 * DAY)) == "cba"
    assert names(await kept.since(NOW + 90 * DAY + MILLISECOND)) == "c"


async def test_incidents_are_deleted_once_they_ended_over_90_days_ago(
    sqlite_ledger: Ledger,
) -> None:
    kept = sqlite_ledger.incidents
    later = NOW + 90 * DAY
    await kept.add(incident(about="long", ended_at=NOW + DAY))
    await kept.add(incident(about="short", ended_at=NOW))
    await kept.begin(incident(about="stands"))
    assert await kept.prune(later) == 0
    assert await kept.prune(later + MILLISECOND) == 1
    assert {each.about for each in await of_all(sqlite_ledger)} == {"long", "stands"}
    now = datetime.now(UTC)
    for days in (89, 91):
        await kept.add(
            incident(about=str(days), began_at=now - days * DAY, ended_at=now - days * DAY)
        )
    await kept.prune()
    assert "91" not in {each.about for each in await of_all(sqlite_ledger)}
    assert "89" in {each.about for each in await of_all(sqlite_ledger)}


async def test_an_incident_names_two_thousand_meetings_at_most(sqlite_ledger: Ledger) -> None:
    sids = tuple(f"m-{n:04}" for n in range(2_001))
    await sqlite_ledger.incidents.begin(incident(sids=sids))
    [found] = await of_all(sqlite_ledger)
    assert found.sids == sids[:2_000]
