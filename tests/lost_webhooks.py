"""Lose every webhook; measure how long and how often reconciling asks until all is right.

Bookings of as many claimed links stand at a provider; then a third of them is cancelled. Redis
is fakeredis, the ledger SQLite, the provider answers after a twentieth of a second; the budget is
the product's own, of which reconciling takes a fifth.

    nice python -m tests.lost_webhooks --bookings 20000 --rate 20
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pool.bookings import reconcile
from pool.bookings.reconcile import Reconciler
from pool.ledger.records import RecordedClaim
from pool.model.links import State
from pool.store import Store, key_names
from pool.store.bindings import CustomerNames
from tests.any_redis import SECRET_KEY, AnyRedis
from tests.fake_redis import FakeRedisServer
from tests.in_process import InProcess, in_process

SID = "intro"
PAGE = 100
APART_SECONDS = 19 * 86_400 / 20_000  # twenty thousand bookings are made within 19 days


@dataclass(frozen=True)
class Caught:
    """The cost of catching up."""

    seconds: float
    calls: int
    wrong: int  # links whose state is not what the provider's bookings ask


async def catch_up(
    product: InProcess,
    bookings: int,
    rate: float,
    *,
    page: int = PAGE,
    apart_seconds: float = APART_SECONDS,
) -> tuple[Caught, Caught]:
    """Lose the webhooks of that many bookings and then of the end of a third of them.

    The provider lists `page` of them at once.
    """
    await product.meeting(SID)
    await product.redis.bare.hset(key_names.budget("default"), "rate", str(rate))
    now = datetime.now(UTC)
    slugs = [f"one-off-{number:06d}" for number in range(bookings)]
    for start in range(0, bookings, 1_000):
        await product.ledger.links.record(
            [
                RecordedClaim(
                    slug, "url", SID, slug, None, None, "pool",
                    now - timedelta(days=20), now + timedelta(days=10),
                )
                for slug in slugs[start : start + 1_000]
            ]
        )  # fmt: skip
    told = [
        _booking(number, slug, now - timedelta(seconds=apart_seconds * (number + 1)))
        for number, slug in enumerate(slugs)
    ]
    _list(product, told, page)
    first = await _caught(product, dict.fromkeys(slugs, State.CONSUMED), now)
    for booking in told[::3]:
        booking |= {"status": "cancelled", "updated_at": now.isoformat()}
    _list(product, told, page)
    expected = dict.fromkeys(slugs, State.CONSUMED) | dict.fromkeys(slugs[::3], State.CANCELLED)
    return first, await _caught(product, expected, now + reconcile.ROUND_EVERY)


async def _caught(product: InProcess, expected: dict[str, State], now: datetime) -> Caught:
    product.provider.bookings_asked.clear()
    started = time.monotonic()
    parts = product.parts
    done = False
    while not done:
        reconciler = Reconciler(
            "default",
            parts.providers["default"],
            parts.makers["default"],
            parts.store,
            parts.ledger,
            parts.bookings,
            now=lambda: now,
        )
        done = await reconciler.run()
        while await parts.bookings.settle_due():
            pass
    seconds = time.monotonic() - started
    wrong = 0
    for start in range(0, len(expected), 1_000):
        found = await product.ledger.links.find(list(expected)[start : start + 1_000])
        wrong += sum(link.state is not expected[link.slug] for link in found)
    return Caught(seconds, len(product.provider.bookings_asked), wrong)


def _booking(number: int, slug: str, made: datetime) -> dict[str, Any]:
    # Of those made first, every other has taken place.
    starts = made + timedelta(days=2 if number % 2 else 25)
    return {
        "sid": f"b{number:06d}",
        "status": "confirmed",
        "created_at": made.isoformat(),
        "updated_at": made.isoformat(),
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=1)).isoformat(),
        "time_zone": "Europe/Vienna",
        "client_booking_url": f"https://acme.neetocal.com/bookings/b?one_off_link={slug}",
    }


def _list(product: InProcess, told: list[dict[str, Any]], page: int) -> None:
    gone = [each for each in told if each["status"] == "cancelled"]
    for cancelled, some in ((False, told), (True, gone)):
        bodies = [_body(each) for each in some]
        pages = [bodies[start : start + page] for start in range(0, max(1, len(bodies)), page)]
        product.provider.list_bookings(*pages, cancelled=cancelled)


def _body(booking: dict[str, Any]) -> bytes:
    name = "booking_cancelled" if booking["status"] == "cancelled" else "booking_created"
    return json.dumps({"event": name, "booking": booking}).encode()


async def _main(bookings: int, rate: float) -> None:
    server = FakeRedisServer()

    def open_store() -> Store:
        return Store(server.client(), CustomerNames(SECRET_KEY))

    async def nothing() -> None:
        return None

    redis = AnyRedis(open_store(), server.client(), nothing, nothing, open_store)
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory)}/ledger.sqlite3"
        async with in_process(redis, url) as product:
            product.provider.seconds = 0.05
            await product.ledger.upgrade()
            found, ended = await catch_up(product, bookings, rate)
    await redis.close()
    for what, caught in (("bookings found", found), ("a third cancelled", ended)):
        print(f"{what}: {caught.seconds:.0f} s, {caught.calls} calls, {caught.wrong} links wrong")
    if found.wrong or ended.wrong:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--bookings", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second allowed")
    options = parser.parse_args()
    asyncio.run(_main(options.bookings, options.rate))


if __name__ == "__main__":
    main()
