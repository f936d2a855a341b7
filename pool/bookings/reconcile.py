"""Ask the provider for bookings whose webhooks were lost, a page at a time.

There are two walks over the provider's lists of bookings, each first over all bookings and then
over the cancelled ones, with those made last first:

- *news*, at every pass that has the time: the bookings made since the last walk of this kind
  began, and in the hour before;
- *a round*, every fifteen minutes: back to the oldest booking that may still change, since no
  list can be filtered by the time of a change. That is the oldest claim that is still live, or
  the oldest booking that stands and ended no more than thirty days ago.

A walk is kept in the ledger after each page and goes on where it stopped. New bookings push
others to later pages, so an entry may come twice. One is missed only if a booking leaves a list
meanwhile, and then the next round finds it. A page that fails again and again while the one after
it can be read is passed over, so that it does not keep the walk from all others. At most a fifth of
the workspace's request budget is used. So a change is found at the latest after

    15 min + 2 x (pages to ask for) x 5 / (budget, requests per second)
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import structlog

from pool.bookings.bookings import Bookings
from pool.errors import BadAnswer, ProviderFailed
from pool.ledger import Ledger
from pool.ledger.facts import RECONCILED
from pool.providers import BookingPage, Provider
from pool.store import Store
from pool.supply.link_maker import LinkMaker

log = structlog.get_logger()

OVERLAP = timedelta(hours=1)  # clocks differ, and a booking may be listed late
FIRST_LOOK = timedelta(days=7)
ROUND_EVERY = timedelta(minutes=15)
OVER_SINCE = timedelta(days=30)  # bookings that ended before that are not looked at again
BUDGET_SHARE = 0.2
PASS_SECONDS = 30.0  # for one workspace; well within a task's time limit
PAGES_MAX = 10_000  # of one walk, a million bookings
TRIES = 3  # of a page, before the one after it is tried, too


class Walk(msgspec.Struct, frozen=True):
    """The position of a walk."""

    began: datetime
    since: datetime
    cancelled: bool = False  # True: it is at the list of cancelled bookings
    page: int = 1
    last: str = ""  # a hash of the page before: a server that knows no pages repeats itself
    failures: int = 0  # in a row, of this page


class Progress(msgspec.Struct, frozen=True):
    """A workspace's walks, as they are kept between two passes."""

    news: Walk | None = None  # under way
    round: Walk | None = None  # under way
    round_began: datetime | None = None  # when the last completed round began
    round_is_next: bool = False  # the two take turns where there is time for only one


class Reconciler:
    """Asks the provider of one workspace."""

    def __init__(
        self,
        workspace: str,
        provider: Provider,
        maker: LinkMaker,
        store: Store,
        ledger: Ledger,
        bookings: Bookings,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._workspace = workspace
        self._provider = provider
        self._maker = maker
        self._store = store
        self._ledger = ledger
        self._bookings = bookings
        self._clock = clock
        self._now = now
        self._progress = Progress()
        self.news = 0  # bookings that were news
        self.pages = 0  # pages that were asked for

    async def run(self, seconds: float = PASS_SECONDS) -> bool:
        """Continue the walks for at most that long. Return True if nothing is left to do.

        Raise ProviderError, LedgerUnavailable or StoreError; what was done is kept.
        """
        until = self._clock() + seconds
        kept = await self._ledger.facts.get(_PROGRESS + self._workspace)
        self._progress = _decode(kept) if kept else Progress()
        walks = [self._walk_news, self._walk_round]
        if self._progress.round is not None and self._progress.round_is_next:
            walks.reverse()
        for walk in walks:
            if not await walk(until):
                return False
        return True

    async def _walk_news(self, until: float) -> bool:
        walk = self._progress.news or await self._begin_news()
        if not await self._go_on("news", walk, until):
            return False
        await self._ledger.facts.put(RECONCILED + self._workspace, walk.began.isoformat())
        await self._keep(news=None, round_is_next=True)
        return True

    async def _walk_round(self, until: float) -> bool:
        walk = self._progress.round
        if walk is None:
            began, now = self._progress.round_began, self._now()
            # A last time that lies ahead was written before the clock was set back.
            if began is not None and began <= now < began + ROUND_EVERY:
                return True
            since = await self._ledger.bookings.oldest_open(
                self._workspace, over_since=now - OVER_SINCE
            )
            if since is None:
                await self._keep(round_began=now)
                return True
            walk = Walk(now, since - OVERLAP)
            await self._keep(round=walk)
        if not await self._go_on("round", walk, until, starts_after=walk.began - OVER_SINCE):
            return False
        await self._keep(round=None, round_began=walk.began)
        return True

    async def _go_on(
        self,
        kind: Literal["news", "round"],
        walk: Walk,
        until: float,
        *,
        starts_after: datetime | None = None,
    ) -> bool:
        """Continue a walk, which is kept after each page. Return True at its end."""
        while True:
            try:
                further = await self._step(walk, until, starts_after)
            except _OF_A_PAGE:
                further = msgspec.structs.replace(walk, failures=walk.failures + 1)
                await self._keep(**{kind: further}, round_is_next=kind == "news")
                raise
            if further is None or further is _DONE:
                return further is _DONE
            walk = further
            await self._keep(**{kind: walk}, round_is_next=kind == "news")

    async def _begin_news(self) -> Walk:
        began = self._now()
        last = await self._ledger.facts.get(RECONCILED + self._workspace)
        # A last time that lies ahead was written before the clock was set back.
        since = min(datetime.fromisoformat(last), began) - OVERLAP if last else began - FIRST_LOOK
        return Walk(began, since)

    async def _step(self, walk: Walk, until: float, starts_after: datetime | None) -> Walk | None:
        """Read one page. Return the walk's new position, or None if there is no time for it."""
        started = self._clock()
        left = until - started
        if left <= 0 or not await self._maker.wait_turn(within_seconds=min(5.0, left)):
            return None
        number = walk.page
        try:
            page = await self._provider.bookings(
                number, cancelled=walk.cancelled, starts_after=starts_after
            )
        except _OF_A_PAGE as error:
            if walk.failures + 1 < TRIES:
                raise
            number += 1
            page = await self._page_after(number, error, walk, starts_after)
        self.pages += 1
        self.news += await self._bookings.receive_listed(self._workspace, page.bookings)
        await self._pace(started, until)
        digest = _digest(page)
        ends = page.is_last or digest == walk.last or _is_older(page, walk.since)
        if not ends and walk.page < PAGES_MAX:
            return msgspec.structs.replace(walk, page=number + 1, last=digest, failures=0)
        if walk.cancelled:
            return _DONE
        return msgspec.structs.replace(walk, cancelled=True, page=1, last="", failures=0)

    async def _page_after(
        self, number: int, error: Exception, walk: Walk, starts_after: datetime | None
    ) -> BookingPage:
        """Return the page behind one that fails. Raise `error` if the fault is not the page's."""
        if not await self._maker.wait_turn(within_seconds=5.0):
            raise error
        try:
            page = await self._provider.bookings(
                number, cancelled=walk.cancelled, starts_after=starts_after
            )
        except _OF_A_PAGE:
            raise error from None
        log.warning(
            "a page of bookings was passed over",
            workspace=self._workspace, page=number - 1, cancelled=walk.cancelled, reason=str(error),
        )  # fmt: skip
        return page

    async def _pace(self, started: float, until: float) -> None:
        """Wait so that this walk uses no more than its share of the budget."""
        rate = await self._store.budget.rate(self._workspace)
        if rate:
            now = self._clock()
            wait = started + 1 / (rate * BUDGET_SHARE) - now
            await asyncio.sleep(max(0.0, min(wait, until - now)))

    async def _keep(self, **changes: Walk | datetime | bool | None) -> None:
        self._progress = msgspec.structs.replace(self._progress, **changes)
        text = msgspec.json.encode(self._progress).decode()
        await self._ledger.facts.put(_PROGRESS + self._workspace, text)


_PROGRESS = "reconcile:"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_DONE = Walk(_LONG_AGO, _LONG_AGO)  # compared by identity
_OF_A_PAGE = (BadAnswer, ProviderFailed)  # what may fail for one page and not for another


def _decode(text: str) -> Progress:
    try:
        return msgspec.json.decode(text, type=Progress)
    except msgspec.MsgspecError:  # of another version: begin anew
        return Progress()


def _is_older(page: BookingPage, since: datetime) -> bool:
    """Return True if all later entries were made before `since`.

    A list that did not keep to the order proves nothing.
    """
    made = [event.made_at for event, _ in page.bookings if event.made_at is not None]
    return page.in_order and bool(made) and made[-1] < since


def _digest(page: BookingPage) -> str:
    digest = hashlib.sha256()
    for _, body in page.bookings:
        digest.update(body)
    return digest.hexdigest()[:16]
