"""Measure the ledger on PostgreSQL with very many links, against itself with few.

The work of tasks and people is run as the product runs it, and each statement's plan is examined.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import asyncpg

from bench.large_ledger import FILLING, MEETINGS, WORKSPACE, fill, slug_of
from bench.measures.base import Bench, Missing
from bench.plans import noted, whole_reads
from bench.postgres import NoPostgres, Postgres
from bench.rows import TIMES, Goal, Row
from pool.ledger import Ledger
from pool.ledger.records import EventState, RecordedClaim
from pool.model.bookings import Booking
from pool.model.links import Link, State
from pool.model.meetings import Meeting

_Work = Callable[[], Awaitable[object]]
_BATCH = 1_000
_SURELY_LARGE = 1_000_000
_MORE_TO_READ = {
    "the oldest open booking": "it reads the bookings that are not over yet, of which there are "
    "a hundred times as many",
}
_URL = "https://acme.neetocal.com/one-off-0123456789ab"


def measure(bench: Bench) -> list[Row]:
    """Fill a ledger twice, and return how much longer each kind of work takes in the larger one."""
    sizes = bench.options.sizes
    try:
        small = _timed(bench, sizes.ledger_small)
        large = _timed(bench, sizes.ledger_large)
        if bench.options.fill_only:
            return []
    except NoPostgres as error:
        raise Missing(str(error)) from None
    rows = []
    for name in small:
        times = tuple(b / a for a, b in zip(small[name], large[name], strict=True))
        note = f"{median(small[name]):.2f} ms, {median(large[name]):.2f} ms"
        goal: Goal | None = Goal(at_most=2.0)
        if name in _MORE_TO_READ:
            goal, note = None, f"{note}; {_MORE_TO_READ[name]}"
        title = f"ledger: {name}, {sizes.ledger_large:,} links against {sizes.ledger_small:,}"
        rows.append(Row(f"ledger.{name.replace(' ', '-')}", title, TIMES, times, goal, note))
    rows.append(
        Row(
            "ledger.counts",
            f"what the page, `/v1/meetings` and `status` ask of {sizes.ledger_large:,} links",
            "ms",
            tuple(large["count every meeting"]),
            Goal(at_most=100),
        )
    )
    return rows


def _timed(bench: Bench, count: int) -> dict[str, list[float]]:
    kept_in = bench.options.keep and bench.options.keep.absolute() / f"ledger-{count}"
    # A quarter of a small server's memory, as PostgreSQL's documentation advises.
    with Postgres("shared_buffers=1GB", "max_wal_size=8GB", kept_in=kept_in) as postgres:
        if not asyncio.run(_is_filled(postgres.url, count)):
            began = time.perf_counter()
            postgres.stop()
            postgres.start(*FILLING)
            asyncio.run(_prepare(postgres.url, count))
            postgres.stop()
            postgres.start()
            bench.say(f"{count:,} links are written after {time.perf_counter() - began:.0f} s")
        if bench.options.fill_only:
            return {}
        return asyncio.run(_times(bench, postgres.url, count))


async def _is_filled(url: str, count: int) -> bool:
    ledger = Ledger.open(url)
    try:
        await ledger.upgrade()
        return await ledger.counts.present() >= count
    finally:
        await ledger.close()


async def _prepare(url: str, count: int) -> None:
    ledger = Ledger.open(url)
    await ledger.meetings.put(Meeting("meeting-0", workspace=WORKSPACE))
    await fill(url, count)
    await ledger.counts.recount()
    await ledger.close()


async def _times(bench: Bench, url: str, count: int) -> dict[str, list[float]]:
    """Return milliseconds for each kind of work, a value for each run."""
    ledger = Ledger.open(url)
    times: dict[str, list[float]] = {}
    try:
        # Made some time before they are claimed: what they touch is written out by then.
        stock = [_new_links(f"meeting-{run}") for run in range(bench.options.runs)]
        for links in stock:
            await ledger.links.insert_fresh(links)
        await _checkpoint(url)
        with noted() as statements:
            for run, links in enumerate(stock):
                for name, work in kinds_of_work(ledger, count, run, links).items():
                    began = time.perf_counter()
                    await work()
                    times.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        # A planner is right to read a small table as a whole.
        if count >= _SURELY_LARGE:
            for each in await whole_reads(url, statements):
                bench.lack(f"with {count:,} links a whole table is read: {each}")
    finally:
        await ledger.close()
    for name, values in times.items():
        bench.say(f"{count:,} links: {name}: {median(values):.2f} ms")
    return times


def kinds_of_work(
    ledger: Ledger, count: int, run: int, stock: Sequence[Link] = ()
) -> dict[str, _Work]:
    """Return the kinds of work, each for one run. No run looks at what an earlier one did.

    Claims are of the `stock`, or of the links that are added.
    """
    now = datetime.now(UTC)
    sid = f"meeting-{run}"
    mine = [slug_of(100 * (1 + run * 100 + n) + 80) for n in range(100)]  # consumed ones
    mine = [slug for n, slug in enumerate(mine) if 100 * (1 + run * 100 + n) + 80 < count]
    new, prefix, lapses_at = _new_links(sid), secrets.token_hex(4), now + timedelta(days=30)
    claims = [
        RecordedClaim(link.slug, link.url, sid, f"{prefix}-{n}", None, None, "pool", now, lapses_at)
        for n, link in enumerate(stock or new)
    ]

    async def settle() -> None:
        for n, slug in enumerate(mine):
            booking = replace(_BOOKING, sid=f"{prefix}-{n}", slug=slug, heard_at=now)
            await ledger.bookings.settle(booking)

    async def find() -> None:
        for n in range(20):
            number = 100 * (run * 20 + n + 1) + 16
            for text in (slug_of(number), f"customer-{number}", f"c{number}@example.com"):
                await ledger.search.links(text, [f"meeting-{m}" for m in range(MEETINGS)])
            await ledger.links.claim_of(
                f"meeting-{(number // 100) % MEETINGS}", f"customer-{number}"
            )

    async def prune() -> None:
        # Of each kind, as many as the smaller ledger has for every run; it holds a year.
        for walk in await ledger.pruning.walks():
            old = await ledger.pruning.look(walk, now - timedelta(days=180), None, 125)
            ripe = [each.slug for each in old if each.ripe]
            await ledger.pruning.prune(ripe, now - timedelta(days=180))

    async def periodic() -> None:
        await ledger.links.fresh_of([f"meeting-{m}" for m in range(MEETINGS)])
        await ledger.links.fresh(sid, before=now, limit=1_000)
        await ledger.inbox.due(now, 1)
        await ledger.inbox.reopen_unmatched(now)
        await ledger.inbox.count(EventState.UNMATCHED)
        await ledger.inbox.list(EventState.UNMATCHED)
        await ledger.erased.unmarked(100)

    return {
        "add a thousand": lambda: ledger.links.insert_fresh(new),
        "record a thousand claims": lambda: ledger.links.record(claims),
        "settle a hundred bookings": settle,
        "lapse a thousand claims": lambda: ledger.links.lapse(now + timedelta(days=2), _BATCH),
        "find by slug, customer, e-mail": find,
        "what a sweep asks": periodic,
        "the oldest open booking": lambda: ledger.bookings.oldest_open(
            WORKSPACE, over_since=now - timedelta(days=2)
        ),
        "the first page of recovery": lambda: _first_page(ledger, sid),
        # So few that the smaller ledger has enough of them for every run.
        "prune fifty events": lambda: ledger.retention.prune(
            events_before=now - timedelta(days=90),
            bodies_before=now - timedelta(days=20),
            limit=50,
        ),
        "prune five hundred links": prune,
        "count one meeting": lambda: ledger.counts.of(sid),
        "count every meeting": ledger.counts.all,
    }


def _new_links(sid: str) -> list[Link]:
    # At random, as the provider makes them: each touches another page of the index.
    slugs = [f"one-off-{secrets.token_hex(6)}" for _ in range(_BATCH)]
    now = datetime.now(UTC)
    return [Link(slug, _URL, sid, State.FRESH, "pool", "e", now) for slug in slugs]


async def _checkpoint(url: str) -> None:
    connection: Any = await asyncpg.connect(url)
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _first_page(ledger: Ledger, sid: str) -> None:
    pages = ledger.links.live_bindings(sid, batch=100)
    await anext(pages, None)
    await pages.aclose()  # type: ignore[attr-defined]


_BOOKING = Booking(
    workspace=WORKSPACE,
    sid="",
    slug="",
    state="confirmed",
    starts_at=None,
    ends_at=None,
    time_zone=None,
    parent_sid=None,
    manage_url=None,
    made_at=None,
    changed_at=None,
    heard_at=datetime(2026, 1, 1, tzinfo=UTC),
    stood=True,
    stood_at=None,
    email_key=None,
    match="slug",
)
