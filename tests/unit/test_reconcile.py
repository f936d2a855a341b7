"""Ask a scripted provider, in process, for what its webhooks did not report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pool.bookings import reconcile
from pool.bookings.reconcile import Reconciler
from pool.errors import ProviderFailed
from pool.ledger import EventState
from pool.model.links import State
from pool.store import key_names
from tests.any_redis import AnyRedis
from tests.in_process import InProcess, in_process
from tests.lost_webhooks import catch_up
from worker.reconcile import reconcile as task

SID = "intro"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
PAGE = 3


class Stage:
    """A meeting with claims, and a provider whose bookings a test says."""

    def __init__(self, product: InProcess) -> None:
        self.product = product
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.seconds = 0.0
        self.bookings: list[dict[str, Any]] = []
        self.bodies: dict[str, bytes] = {}

    def reconciler(self) -> Reconciler:
        parts = self.product.parts
        return Reconciler(
            "default",
            self.product.provider,
            parts.makers["default"],
            parts.store,
            parts.ledger,
            parts.bookings,
            clock=lambda: self.seconds,
            now=lambda: self.now,
        )

    async def claims(self, *slugs: str, ago: timedelta = DAY) -> None:
        from tests.unit.test_matcher import claim

        await self.product.ledger.links.record(
            [
                claim(slug, slug, f"{slug}@x.test", claimed_at=self.now - ago,
                      lapses_at=self.now + 30 * DAY)
                for slug in slugs
            ]
        )  # fmt: skip

    def booking(self, slug: str, ago: timedelta, **fields: Any) -> None:
        """Return a booking of this link that was made this long ago; the provider lists it from now
        on.
        """
        made = (self.now - ago).isoformat()
        told = {
            "sid": f"b-{slug}",
            "status": "confirmed",
            "created_at": made,
            "updated_at": made,
            "starts_at": (self.now + DAY).isoformat(),
            "ends_at": (self.now + DAY + HOUR).isoformat(),
            "client_booking_url": f"https://acme.test/b?one_off_link={slug}",
        }
        self.bookings.append(told | fields)
        self.list()

    def change(self, slug: str, status: str, ago: timedelta = timedelta()) -> None:
        for booking in self.bookings:
            if booking["sid"] == f"b-{slug}":
                booking |= {"status": status, "updated_at": (self.now - ago).isoformat()}
        self.list()

    def list(self) -> None:
        by_time = sorted(self.bookings, key=lambda each: each["created_at"], reverse=True)
        gone = [each for each in by_time if each["status"] == "cancelled"]
        self.product.provider.list_bookings(*_pages(by_time))
        self.product.provider.list_bookings(*_pages(gone), cancelled=True)

    async def run(self, *, seconds: float = 1_000.0) -> bool:
        done = await self.reconciler().run(seconds)
        while await self.product.parts.bookings.settle_due():
            pass
        return done

    async def state(self, slug: str) -> State | None:
        return await self.product.state(slug)

    def asked(self) -> Sequence[tuple[int, bool]]:
        """Return which pages were asked for since the last look, and of which list."""
        asked = [(page, cancelled) for page, cancelled, _ in self.product.provider.bookings_asked]
        self.product.provider.bookings_asked.clear()
        return asked


def _pages(bookings: Sequence[dict[str, Any]]) -> Iterable[list[bytes]]:
    for start in range(0, max(1, len(bookings)), PAGE):
        yield [_body(each) for each in bookings[start : start + PAGE]]


def _body(booking: dict[str, Any]) -> bytes:
    name = "booking_cancelled" if booking["status"] == "cancelled" else "booking_created"
    return json.dumps({"event": name, "booking": booking}).encode()


@pytest.fixture
async def stage(product: InProcess, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(product)

    async def sleep(seconds: float) -> None:
        made.seconds += seconds

    monkeypatch.setattr("pool.bookings.reconcile.asyncio.sleep", sleep)
    await product.meeting(SID)
    return made


async def test_a_booking_whose_webhook_was_lost_is_found(stage: Stage) -> None:
    """Redis learns of it, too; asked again it is no news."""
    await stage.claims("link-a")
    stage.booking("link-a", MINUTE)
    reconciler = stage.reconciler()
    assert await reconciler.run()
    assert reconciler.news == 1
    await stage.product.parts.bookings.settle_due()
    assert await stage.state("link-a") is State.CONSUMED
    again = stage.reconciler()
    assert await again.run()
    assert again.news == 0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("incomplete", State.CLAIMED),
        ("pending", State.CONSUMED),
        ("rejected", State.CANCELLED),
        ("cancelled", State.CANCELLED),
        ("confirmed", State.CONSUMED),
        ("no_show", State.CONSUMED),
    ],
)
async def test_a_listed_bookings_status_is_read(stage: Stage, status: str, expected: State) -> None:
    """A form that was not paid holds nothing."""
    await stage.claims("link-a")
    stage.booking("link-a", MINUTE, status=status)
    await stage.run()
    assert await stage.state("link-a") is expected


async def test_a_lost_cancellation_of_an_old_booking_is_found(stage: Stage) -> None:
    """A booking made any time ago is found: the round goes back to the oldest that may change."""
    await stage.claims("link-a", "link-b", ago=40 * DAY)
    stage.booking("link-a", 39 * DAY)
    stage.booking("link-b", 38 * DAY)
    for number in range(3 * PAGE):
        stage.booking(f"strange-{number}", number * DAY, status="cancelled")
    await stage.run()
    assert await stage.state("link-a") is State.CONSUMED
    stage.change("link-a", "cancelled")
    await stage.run()
    assert await stage.state("link-a") is State.CONSUMED, "the next round is not due yet"
    stage.now += reconcile.ROUND_EVERY
    await stage.run()
    assert await stage.state("link-a") is State.CANCELLED
    assert await stage.state("link-b") is State.CONSUMED


async def test_other_changes_of_old_bookings_are_found(stage: Stage) -> None:
    """An unpaid form that was paid later, and a booking that was moved."""
    await stage.claims("link-a", ago=40 * DAY)
    stage.booking("link-a", 39 * DAY, status="incomplete")
    await stage.run()
    assert await stage.state("link-a") is State.CLAIMED
    stage.change("link-a", "confirmed")
    stage.now += reconcile.ROUND_EVERY
    await stage.run()
    assert await stage.state("link-a") is State.CONSUMED
    moved = (stage.now + 3 * DAY).isoformat()
    stage.bookings[0] |= {"starts_at": moved, "updated_at": stage.now.isoformat()}
    stage.list()
    stage.now += reconcile.ROUND_EVERY
    await stage.run()
    booking = await stage.product.ledger.bookings.get("default", "b-link-a")
    assert booking is not None
    assert booking.starts_at is not None
    assert booking.starts_at.isoformat() == moved


async def test_news_are_asked_for_back_to_the_last_time_and_an_hour(stage: Stage) -> None:
    """A round goes no further back, and takes no last time from the future."""
    await stage.run()
    stage.asked()
    for number in range(3 * PAGE):
        stage.booking(f"old-{number}", 2 * HOUR + number * MINUTE)
    await stage.claims("link-late")
    stage.now += MINUTE
    stage.booking("link-late", 59 * MINUTE)
    await stage.run()
    assert await stage.state("link-late") is State.CONSUMED, "made before, listed late"
    assert (2, False) not in stage.asked()[:2], "its first page reached back far enough"


async def test_a_clock_that_went_back_loses_nothing(stage: Stage) -> None:
    """A last time that lies ahead is not believed."""
    stage.now += DAY
    await stage.run()
    stage.now -= DAY
    await stage.claims("link-a")
    stage.booking("link-a", MINUTE)
    await stage.run()
    assert await stage.state("link-a") is State.CONSUMED


async def test_it_goes_on_where_it_stopped(stage: Stage) -> None:
    """Another process, page by page; no page is asked for twice but by the next walk."""
    slugs = [f"link-{number}" for number in range(4 * PAGE)]
    await stage.claims(*slugs)
    for number, slug in enumerate(slugs):
        stage.booking(slug, number * MINUTE)
    passes = 0
    asked: list[tuple[int, bool]] = []
    done = False
    while not done:
        passes += 1
        assert passes < 40

        def clock(started: float = stage.seconds) -> float:
            # Time for one page a pass.
            stage.seconds += 0.4
            return stage.seconds - started

        reconciler = stage.reconciler()
        reconciler._clock = clock
        done = await reconciler.run(1.0)
        asked += stage.asked()
    assert passes > 3
    pages = [page for page, cancelled in asked if not cancelled]
    assert pages[:4] == [1, 2, 3, 4], "the news"
    assert passes < 25
    while await stage.product.parts.bookings.settle_due():
        pass
    assert {await stage.state(slug) for slug in slugs} == {State.CONSUMED}


async def test_a_pass_that_fails_is_gone_on_with(stage: Stage) -> None:
    """The next pass begins at the page that failed."""
    slugs = [f"link-{number}" for number in range(2 * PAGE)]
    await stage.claims(*slugs)
    for number, slug in enumerate(slugs):
        stage.booking(slug, number * MINUTE)
    pages = list(stage.product.provider.pages)
    stage.product.provider.pages[1] = ProviderFailed("NeetoCal says 500", status=500)
    with pytest.raises(ProviderFailed):
        await stage.run()
    assert stage.asked() == [(1, False), (2, False)]
    stage.product.provider.pages = pages
    assert await stage.run()
    assert stage.asked()[0] == (2, False)
    assert {await stage.state(slug) for slug in slugs} == {State.CONSUMED}


async def test_it_leaves_four_fifths_of_the_budget_to_others(stage: Stage) -> None:
    """Four fifths are left of the rate that the budget allows now."""
    slugs = [f"link-{number}" for number in range(5 * PAGE)]
    await stage.claims(*slugs)
    for number, slug in enumerate(slugs):
        stage.booking(slug, number * MINUTE)
    await stage.product.redis.bare.hset(key_names.budget("default"), "rate", "10")
    await stage.run()
    calls = len(stage.asked())
    assert calls >= 10
    assert stage.seconds >= (calls - 1) / (10 * reconcile.BUDGET_SHARE) * 0.99


async def test_a_server_that_knows_no_pages_is_asked_twice(stage: Stage) -> None:
    """The same page again is the end."""
    await stage.claims("link-a")
    stage.booking("link-a", MINUTE)
    [page] = stage.product.provider.pages
    stage.product.provider.pages = [page] * 50
    await stage.run()
    assert [page for page, cancelled in stage.asked() if not cancelled] == [1, 2, 1, 2]


async def test_bookings_that_are_over_are_not_asked_for(stage: Stage) -> None:
    """A round asks from thirty days ago on; a round for the news asks for all."""
    await stage.claims("link-a")
    await stage.run()
    after = {starts_after for *_, starts_after in stage.product.provider.bookings_asked}
    assert after == {None, stage.now - reconcile.OVER_SINCE}


async def test_bookings_that_nothing_of_ours_fits_cost_no_event(stage: Stage) -> None:
    """A workspace may have very many that came by other routes."""
    await stage.claims("link-a")
    for number in range(3 * PAGE):
        stage.booking(f"strange-{number}", number * MINUTE, email=f"{number}@strange.test")
    await stage.run()
    assert await stage.product.ledger.inbox.list() == []


async def test_unmatched_events_are_tried_again_ever_more_seldom(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of events that match nothing does not keep the others from being looked at."""
    from tests.bookings_machine import _sign

    monkeypatch.setattr("worker.reconcile.BATCH", 20)
    events_sent = 50  # two batches and a half
    parts = stage.product.parts
    for number in range(events_sent):
        body = _body({"sid": f"b-{number}", "status": "confirmed", "email": f"{number}@x.test"})
        await parts.bookings.receive("default", body, [_sign(body)])
    while await parts.bookings.settle_due():
        pass
    events = await stage.product.ledger.inbox.list(limit=300)
    assert {event.state for event in events} == {EventState.UNMATCHED}
    now = datetime.now(UTC)
    assert await stage.product.ledger.inbox.reopen_unmatched(now, 300) == 0
    assert await stage.product.ledger.inbox.reopen_unmatched(now + 2 * MINUTE, 300) == events_sent
    await stage.product.ledger.inbox.reopen_unmatched(now, 300)
    looked_at = []
    settle = parts.bookings._settler.settle

    async def counted(event: Any) -> None:
        looked_at.append(event.id)
        await settle(event)

    parts.bookings._settler.settle = counted  # type: ignore[method-assign]
    await task(parts)
    assert len(set(looked_at)) == len(looked_at) == events_sent


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a defect"), ProviderFailed("500", status=500)],
    ids=["defect", "provider"],
)
async def test_a_workspace_that_cannot_be_asked_does_not_hold_up_the_others(
    fake_redis: AnyRedis, tmp_path: Path, error: Exception
) -> None:
    """Their bookings are found and settled; a defect is reported."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite3"
    async with in_process(fake_redis, url, "bad", "default") as product:
        await product.ledger.upgrade()
        await product.meeting(SID)
        stage = Stage(product)
        await stage.claims("link-a")
        stage.booking("link-a", MINUTE)

        async def failing(_page: int, **_how: Any) -> Any:
            raise error

        product.providers["bad"].bookings = failing  # type: ignore[method-assign]
        assert await task(product.parts) is False
        assert await stage.state("link-a") is State.CONSUMED
        counted = product.metric(
            "linkpool_meeting_failures_total", task="reconcile", meeting="workspace bad"
        )
        assert counted == isinstance(error, RuntimeError)


async def test_every_webhook_is_lost_and_every_link_is_right(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a few pages; `python -m tests.lost_webhooks` does it with twenty thousand."""

    async def sleep(_seconds: float) -> None:
        return None

    monkeypatch.setattr("pool.bookings.reconcile.asyncio.sleep", sleep)
    found, ended = await catch_up(product, 60, 20.0, page=25, apart_seconds=330)
    assert (found.wrong, ended.wrong) == (0, 0)
    # Three pages of all and one of the cancelled for a round; the later news end on their first.
    assert (found.calls, ended.calls) == (8, 6)
