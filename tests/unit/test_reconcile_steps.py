"""Test the walks of reconcile step by step: which pages are asked for, when, and where they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from pool.bookings import reconcile
from pool.bookings.reconcile import Reconciler
from pool.errors import BadAnswer, ProviderFailed
from pool.providers import BookingEvent, BookingPage
from tests.unit.test_matcher import EVENT

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
DAY = 24 * HOUR

Asked = tuple[int, bool, datetime | None]


def page(*ages: timedelta | None, last: bool = False, in_order: bool = True) -> BookingPage:
    """Return a page of bookings made so long ago, each page with a body of its own."""
    made: list[tuple[BookingEvent, bytes]] = [
        (replace(EVENT, made_at=None if age is None else NOW - age), f"{ages}{last}".encode())
        for age in ages
    ]
    return BookingPage(tuple(made), in_order=in_order, is_last=last)


EMPTY = page(last=True)


@dataclass
class World:
    """Everything that the walks touch, as a test wants it."""

    news: list[BookingPage | Exception] = field(default_factory=list)
    cancelled: list[BookingPage | Exception] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    oldest: datetime | None = None
    rate: float | None = None
    seconds: float = 100.0
    page_seconds: float = 0.0
    now: datetime = NOW
    turns: list[float] = field(default_factory=list)
    turns_left: int = 1_000
    asked: list[Asked] = field(default_factory=list)
    oldest_asked: list[tuple[str, datetime]] = field(default_factory=list)
    received: list[tuple[str, int]] = field(default_factory=list)

    async def wait_turn(self, *, within_seconds: float) -> bool:
        self.turns.append(within_seconds)
        self.turns_left -= 1
        return self.turns_left >= 0

    async def bookings(
        self, number: int, *, cancelled: bool, starts_after: datetime | None
    ) -> BookingPage:
        self.asked.append((number, cancelled, starts_after))
        self.seconds += self.page_seconds
        pages = self.cancelled if cancelled else self.news
        found = pages[number - 1] if number <= len(pages) else EMPTY
        if isinstance(found, Exception):
            raise found
        return found

    async def receive_listed(self, workspace: str, some: Sequence[Any]) -> int:
        self.received.append((workspace, len(some)))
        return len(some)

    async def get(self, name: str) -> str | None:
        return self.facts.get(name)

    async def put(self, name: str, value: str) -> None:
        self.facts[name] = value

    async def oldest_open(self, workspace: str, *, over_since: datetime) -> datetime | None:
        self.oldest_asked.append((workspace, over_since))
        return self.oldest

    async def rate_of(self, workspace: str) -> float | None:
        assert workspace == "acme"
        return self.rate

    def reconciler(self) -> Reconciler:
        class Parts:
            provider: Any = self
            facts: Any = self
            budget: Any = type("Budget", (), {"rate": staticmethod(self.rate_of)})
            bookings: Any = type("Ledger", (), {"oldest_open": staticmethod(self.oldest_open)})

        parts: Any = Parts
        mine: Any = self
        return Reconciler(
            "acme", mine, mine, parts, parts, mine,
            clock=lambda: self.seconds, now=lambda: self.now,
        )  # fmt: skip

    async def run(self, seconds: float = 30.0) -> bool:
        self.asked.clear()
        return await self.reconciler().run(seconds)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def waits(world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waits between pages; each passes at once."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(round(seconds, 6))
        world.seconds += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


AFTER = NOW - 30 * DAY  # what a round asks for begins later


async def test_the_first_pass_walks_both_lists_twice(world: World) -> None:
    """The news, then a round over what may have changed; each page once, in order."""
    world.oldest = NOW - DAY
    world.news = [page(HOUR), page(2 * HOUR), page(3 * HOUR, last=True)]
    world.cancelled = [page(HOUR), page(2 * HOUR, last=True)]
    reconciler = world.reconciler()
    assert await reconciler.run()
    walk = [(1, False), (2, False), (3, False), (1, True), (2, True)]
    assert world.asked == [
        *((number, cancelled, None) for number, cancelled in walk),
        *((number, cancelled, AFTER) for number, cancelled in walk),
    ]
    assert (reconciler.pages, reconciler.news) == (10, 10)
    assert world.received == [("acme", 1)] * 10
    assert world.oldest_asked == [("acme", AFTER)]
    assert world.facts["reconciled:acme"] == NOW.isoformat()
    assert set(world.facts) == {"reconciled:acme", "reconcile:acme"}


@pytest.mark.parametrize(
    ("first", "goes_on"),
    [
        (page(7 * DAY), True),  # to the instant
        (page(7 * DAY + SECOND), False),
        (page(HOUR, 7 * DAY + SECOND), False),
        (page(8 * DAY, HOUR), True),
        (page(7 * DAY + SECOND, None), False),
        (page(None), True),
        (page(), True),
        (page(8 * DAY, in_order=False), True),
        (page(HOUR, last=True), False),
    ],
)
async def test_the_news_of_a_week_are_asked_for_at_first(
    world: World, first: BookingPage, goes_on: bool
) -> None:
    """The walk ends at a page with an older one, but a list out of order is read to its end."""
    world.news = [first, page(MINUTE)]
    await world.run()
    assert ((2, False, None) in world.asked) is goes_on


@pytest.mark.parametrize(
    ("last", "since"),
    [
        (NOW - DAY, DAY + HOUR),
        (NOW, HOUR),
        (NOW + DAY, HOUR),  # the clock was set back
    ],
)
async def test_later_news_are_asked_for_since_the_last_time(
    world: World, last: datetime, since: timedelta
) -> None:
    """The request overlaps with it by an hour."""
    for age, goes_on in ((since, True), (since + SECOND, False)):
        world.facts = {"reconciled:acme": last.isoformat()}
        world.news = [page(age), page(MINUTE)]
        await world.run()
        assert ((2, False, None) in world.asked) is goes_on


async def test_a_round_reaches_back_to_the_oldest_open_booking(world: World) -> None:
    """The request overlaps with it by an hour, and the second list has its own end."""
    world.oldest = NOW - 20 * DAY
    world.news = [page(20 * DAY + HOUR), page(20 * DAY + HOUR + SECOND), page(MINUTE)]
    world.cancelled = [page(21 * DAY), page(MINUTE)]
    await world.run()
    assert [each[:2] for each in world.asked if each[2]] == [(1, False), (2, False), (1, True)]


@pytest.mark.parametrize(
    ("passed", "asks"),
    [(timedelta(), False), (15 * MINUTE - SECOND, False), (15 * MINUTE, True), (-SECOND, True)],
)
@pytest.mark.parametrize("oldest", [NOW - DAY, None])
async def test_a_round_begins_every_quarter_of_an_hour(
    world: World, oldest: datetime | None, passed: timedelta, asks: bool
) -> None:
    """The time counts from the last beginning, also if there was nothing to ask for then."""
    world.oldest = oldest
    await world.run()
    world.oldest_asked.clear()
    world.now, world.oldest = NOW + passed, NOW - DAY
    assert await world.run()
    assert bool(world.oldest_asked) is asks
    assert any(each[2] for each in world.asked) is asks


async def test_a_server_that_repeats_a_page_has_no_further_one(world: World) -> None:
    """That holds for either list; the same page in both lists is no repetition."""
    world.news = [page(MINUTE)] * 9
    world.cancelled = [page(MINUTE)] * 9
    await world.run()
    assert world.asked == [(1, False, None), (2, False, None), (1, True, None), (2, True, None)]


async def test_a_walk_has_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends after a number of pages, whatever the server answers."""
    monkeypatch.setattr(reconcile, "PAGES_MAX", 3)
    world.news = [page(number * SECOND) for number in range(9)]
    await world.run()
    assert [each for each in world.asked if not each[1]] == [(n, False, None) for n in (1, 2, 3)]


@pytest.mark.parametrize(("seconds", "within"), [(30.0, 5.0), (5.0, 5.0), (3.0, 3.0)])
async def test_a_turn_is_waited_for_as_long_as_there_is_time(
    world: World, seconds: float, within: float
) -> None:
    """Five seconds at most. Without a turn, no page is asked for, and more is left to do."""
    world.turns_left = 0
    assert not await world.run(seconds)
    assert world.turns == [within]
    assert world.asked == []


async def test_a_pass_ends_when_its_time_is_up(world: World) -> None:
    """It ends to the instant, without taking a further turn."""
    world.news = [page(SECOND), page(2 * SECOND), page(3 * SECOND), page(4 * SECOND)]
    world.page_seconds = 2.0
    assert not await world.run(6.0)
    assert [each[0] for each in world.asked] == [1, 2, 3]
    assert world.turns == [5.0, 4.0, 2.0]
    assert not await world.run(0.0)
    assert world.asked == []
    assert await world.run(20.0)
    assert world.asked[:2] == [(4, False, None), (5, False, None)]


async def test_what_was_done_before_a_failure_is_kept(world: World) -> None:
    """The next pass begins with the page that failed, of either walk and of either list."""
    world.oldest = NOW - DAY
    world.cancelled = [page(SECOND), ProviderFailed("500", status=500)]
    with pytest.raises(ProviderFailed):
        await world.run()
    world.now += HOUR
    world.cancelled[1] = page(2 * SECOND, last=True)
    assert await world.run()
    assert world.asked[0] == (2, True, None)
    assert world.facts["reconciled:acme"] == NOW.isoformat(), "when the walk began"


@pytest.mark.parametrize("error", [ProviderFailed("500", status=500), BadAnswer("odd")])
async def test_a_page_that_always_fails_is_passed_over(world: World, error: Exception) -> None:
    """It is passed at the third failure if the next page can be read, and the rest is read, too."""
    world.news = [page(SECOND), error, page(3 * SECOND), page(4 * SECOND, last=True)]
    for tries in range(1, reconcile.TRIES):
        with pytest.raises(type(error)):
            await world.run()
        assert world.asked[-1] == (2, False, None), tries
    with capture_logs() as lines:
        assert await world.run()
    assert world.asked[:3] == [(2, False, None), (3, False, None), (4, False, None)]
    [line] = [each for each in lines if "passed over" in each["event"]]
    assert (line["workspace"], line["page"], line["cancelled"]) == ("acme", 2, False)


async def test_the_last_page_that_always_fails_ends_its_list(world: World) -> None:
    """No page follows it, and the cancelled bookings are next."""
    world.news = [page(SECOND), ProviderFailed("500", status=500)]
    for _ in range(1, reconcile.TRIES):
        with pytest.raises(ProviderFailed):
            await world.run()
    assert await world.run()
    assert world.asked[:3] == [(2, False, None), (3, False, None), (1, True, None)]


async def test_an_outage_passes_over_nothing(world: World) -> None:
    """The page after fails as well, so the first error is raised, however long it takes."""
    world.news = [page(SECOND), ProviderFailed("first"), BadAnswer("second")]
    for _ in range(3 * reconcile.TRIES):
        with pytest.raises(ProviderFailed, match="first"):
            await world.run()
    assert world.asked == [(2, False, None), (3, False, None)]
    # The page after waits for its turn like any other.
    world.turns_left = 1
    with pytest.raises(ProviderFailed, match="first"):
        await world.run()
    assert world.asked == [(2, False, None)]
    world.turns_left = 1_000
    world.news[1:] = [page(2 * SECOND), page(3 * SECOND, last=True)]
    assert await world.run()
    assert world.asked[0] == (2, False, None)


async def test_failures_are_counted_for_one_page(world: World) -> None:
    """The next page that fails has as many tries again."""
    world.news = [page(SECOND), ProviderFailed("500"), page(3 * SECOND, last=True)]
    with pytest.raises(ProviderFailed):
        await world.run()
    world.news = [page(SECOND), page(2 * SECOND), ProviderFailed("500"), page(3 * SECOND)]
    for _ in range(1, reconcile.TRIES):
        with pytest.raises(ProviderFailed):
            await world.run()
        assert world.asked[-1] == (3, False, None)


async def test_news_that_fail_do_not_keep_a_round_from_its_turn(world: World) -> None:
    """A failing round does not block the news, either: the other walk comes first at the next
    pass.
    """
    world.oldest = NOW - DAY
    under_way = reconcile.Progress(round=reconcile.Walk(NOW, NOW - DAY, page=7))
    world.facts["reconcile:acme"] = msgspec.json.encode(under_way).decode()
    world.news = [ProviderFailed("500") for _ in range(9)]
    with pytest.raises(ProviderFailed):
        await world.run()
    assert world.asked == [(1, False, None)]
    with pytest.raises(ProviderFailed):
        await world.run()
    assert world.asked[0] == (7, False, AFTER)


async def test_the_walks_take_turns_where_there_is_time_for_one_page(world: World) -> None:
    """Neither waits for the other's end."""
    world.oldest = NOW - DAY
    world.page_seconds = 1.0
    await world.run()  # the first news are done, and a round is due
    world.now += HOUR
    world.news = [page(number * SECOND - HOUR) for number in range(1, 9)]
    assert not await world.run(2.0)
    asked: list[Asked] = []
    for _ in range(7):
        await world.run(1.0)
        asked += world.asked
    rounds = [each[2] is not None for each in asked]
    assert len(rounds) == 7
    assert True not in rounds, "a round that has not begun waits for the news"
    await world.run(30.0)
    world.now += HOUR
    world.turns_left = 12
    await world.run()
    world.turns_left = 1_000
    assert any(each[2] is not None for each in world.asked)
    asked.clear()
    world.now += HOUR
    for _ in range(6):
        await world.run(1.0)
        asked += world.asked
    rounds = [each[2] is not None for each in asked]
    assert True in rounds
    assert False in rounds


async def test_news_that_end_leave_the_turn_to_a_round_under_way(world: World) -> None:
    """That holds where the time of a pass ends with them, too."""
    under_way = reconcile.Progress(round=reconcile.Walk(NOW, NOW - DAY))
    world.facts["reconcile:acme"] = msgspec.json.encode(under_way).decode()
    world.news = world.cancelled = [page(HOUR, last=True)]
    world.page_seconds = 1.0
    assert not await world.run(2.0)
    assert world.asked == [(1, False, None), (1, True, None)]
    assert not await world.run(1.0)
    assert world.asked == [(1, False, AFTER)]


async def test_news_that_end_in_a_pass_of_their_own_leave_the_turn_to_a_round(
    world: World,
) -> None:
    """The round had its turn before them, and is not over yet."""
    under_way = reconcile.Progress(
        news=reconcile.Walk(NOW, NOW - DAY, cancelled=True),
        round=reconcile.Walk(NOW, NOW - DAY),
        round_is_next=False,
    )
    world.facts["reconcile:acme"] = msgspec.json.encode(under_way).decode()
    world.page_seconds = 1.0
    assert not await world.run(1.0)
    assert world.asked == [(1, True, None)]
    assert not await world.run(1.0)
    assert world.asked == [(1, False, AFTER)]


async def test_progress_of_another_release_is_begun_anew(world: World) -> None:
    """It is in a form that cannot be read."""
    world.facts = {"reconcile:acme": '{"news": 7}'}
    assert await world.run()
    assert world.asked[0] == (1, False, None)


@pytest.mark.parametrize(
    ("rate", "page_seconds", "expected"),
    [
        (10.0, 0.0, [0.5, 0.5]),
        (10.0, 0.2, [0.3, 0.3]),
        (10.0, 0.5, [0.0, 0.0]),
        (10.0, 0.7, [0.0, 0.0]),
        (2.0, 0.0, [2.5, 2.5]),
        (0.1, 0.0, [30.0]),
        (0.1, 4.0, [26.0]),
        (None, 0.0, []),
        (0.0, 0.0, []),
    ],
)
async def test_a_fifth_of_the_budget_is_used(
    world: World, waits: list[float], rate: float | None, page_seconds: float, expected: list[float]
) -> None:
    """The time counts from the beginning of a page, and no pass waits beyond its end."""
    world.rate, world.page_seconds = rate, page_seconds
    await world.run(30.0)
    assert waits == expected
