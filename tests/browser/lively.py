"""Run a busy product: a week of past, and a busy present.

It is for looking at the page, and for the pictures in docs/. The past is made up; everything else
is done to the real product over HTTP.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool.config.addresses import secret_key
from pool.config.settings import Settings
from pool.model.meetings import Meeting
from pool.store import Store
from pool.store.records import Level, Totals
from tests.acceptance.product import Product, signed, wait_until
from tests.redis_process import RedisServer

DAY_SECONDS, WEEK_SECONDS = 86_400, 7 * 86_400
# SID, claims per second at the height of the day, settings
MEETINGS: tuple[tuple[str, float, dict[str, object]], ...] = (
    ("intro-call", 3.0, {"min_fresh": 200, "max_fresh": 2_000}),
    ("product-demo", 1.2, {"min_fresh": 100, "max_fresh": 1_000}),
    ("pricing-call", 0.4, {"min_fresh": 60}),
    ("onboarding", 0.25, {"min_fresh": 60}),
    ("support-30-min", 0.6, {"min_fresh": 80}),
    ("renewal-review", 0.05, {"min_fresh": 25}),
    ("partner-intro", 0.02, {"min_fresh": 25}),
    ("security-review", 0.02, {"min_fresh": 25}),
    ("webinar-follow-up", 0.3, {"min_fresh": 60}),
    ("beta-feedback", 0.1, {"min_fresh": 40}),
)


def rate_at(seconds: float, busiest: float) -> float:
    """Return claims per second: two heights a working day, quiet nights and weekends."""
    hour = seconds / 3600 % 24
    weekend = time.gmtime(seconds).tm_wday >= 5
    shape = math.exp(-(((hour - 10.5) / 2.2) ** 2)) + 0.8 * math.exp(-(((hour - 15.5) / 2.4) ** 2))
    return busiest * (0.03 + shape) * (0.3 if weekend else 1.0)


class _Pool:
    """One made-up pool, moved on step by step."""

    def __init__(self, sid: str, busiest: float, settings: dict[str, object]) -> None:
        self.meeting = Meeting(sid, **settings)  # type: ignore[arg-type]
        self.busiest = busiest
        self.random = random.Random(sid)
        self.level = float(self.meeting.min_fresh)
        self.claims = self.top_ups = self.bookings = 0.0
        self.target = self.meeting.min_fresh

    def move(self, at: float, seconds: float) -> None:
        rate = rate_at(at, self.busiest) * self.random.uniform(0.6, 1.4)
        claimed = min(self.level, rate * seconds)
        self.target = self.meeting.target(rate_at(at, self.busiest))
        made = min(max(0.0, self.target - self.level), 4.0 * seconds) * self.random.uniform(0.3, 1)
        self.level += made - claimed
        self.claims += claimed
        self.top_ups += made
        self.bookings += claimed * self.random.uniform(0.2, 0.5)

    def look(self, at: float) -> Level:
        totals = Totals(round(self.claims), round(self.top_ups), round(self.bookings))
        return Level(
            sid=self.meeting.sid, fresh=round(self.level), fence="stands", epoch="e", backlog=0,
            claims_per_second=0.0, oldest_fresh_seconds=None, block=None,
            published="", target=None, now_ms=round(at * 1000), totals=totals,
        )  # fmt: skip


async def make_up_past(redis_url: str, now: float) -> None:
    """Write the week before `now` as sweeps would have written it."""
    store = Store.open(
        redis_url, secret_key(Settings(secret_key="the secret key of what was long ago"))
    )  # type: ignore[arg-type]
    pools = [_Pool(*each) for each in MEETINGS]
    last = at = now - WEEK_SECONDS
    while at < now - 10:
        # As often as the finest history that still reaches there has a place for.
        step = 10 if at > now - 3600 else 120 if at > now - DAY_SECONDS else 1_800
        at += step
        for pool in pools:
            pool.move(at, at - last)
        last = at
        # The worker was down for a while yesterday, and for a moment just now.
        if now - 9 * 3600 < at < now - 8 * 3600 or now - 1500 < at < now - 1320:
            continue
        targets = {pool.meeting.sid: pool.target for pool in pools}
        await store.history.sample([each.look(at) for each in pools], targets, sweep_seconds=step)
    await store.close()


@contextmanager
def lively_product(directory: Path, now: float) -> Iterator[Product]:
    """Run the product with ten meetings, customers, bookings, and some that match nothing."""
    import asyncio

    (directory / "redis").mkdir(parents=True)
    redis = RedisServer(directory / "redis")
    redis.start()
    asyncio.run(make_up_past(redis.url(), now))
    product = Product(
        directory, *(sid for sid, _, _ in MEETINGS), REDIS_URL=redis.url(), PROVIDER_RATE="200"
    )
    try:
        product.start(within_seconds=240)
        fill(product)
        yield product
    finally:
        product.close()
        redis.stop()


def fill(product: Product) -> None:
    """Do a busy morning's work on the product."""
    for sid, _, settings in MEETINGS:
        product.put(sid, fill=False, **settings)
    for sid, _, settings in MEETINGS:
        wait_until(
            lambda sid=sid, settings=settings: (
                product.meeting(sid)["fresh"] >= settings["min_fresh"]
            ),
            60,
            what=f"{sid} is full",
        )
    customers = (f"order-{number}" for number in itertools.count(48_211))
    slugs = {
        sid: [
            product.slug(sid, next(customers), email=f"{sid}.{number}@example.com")
            for number in range(max(4, round(busiest * 8)))
        ]
        for sid, busiest, _ in MEETINGS
    }
    for sid, held in slugs.items():
        booked = [
            product.control("book", slug=slug, name="Zoë Quist", email=f"{sid}.{n}@example.com")
            for n, slug in enumerate(held[: len(held) // 2])
        ]
        for each in booked[: len(booked) // 6]:
            product.control("cancel", booking_sid=each["booking"]["sid"])
    strangers(product)
    trouble(product)
    product.command("keys", "create", "--scope", "claim", "--label", "Website")
    product.command("keys", "create", "--scope", "read", "--label", "Grafana")
    product.command(
        "keys", "create", "--scope", "claim", "--meeting", "partner-intro", "--label", "Partners"
    )
    product.command("meetings", "pause", "beta-feedback", "--reason", "The beta has ended")
    product.command("meetings", "top-up", "intro-call", "--reason", "Newsletter at 11:00")


def trouble(product: Product) -> None:
    """Disable a meeting at the provider, while visitors still come for it."""
    product.knobs(disabled_meetings="webinar-follow-up")
    for number in range(35):
        product.claim("webinar-follow-up", f"latecomer-{number}")
    wait_until(lambda: product.meeting("webinar-follow-up")["state"] == "blocked", 60)


def strangers(product: Product) -> None:
    """Book links that linkpool did not make: by address, by an e-mail of two claims, and by an
    unknown one.
    """
    for customer in ("order-51007", "order-51008"):
        product.claim("pricing-call", customer, email="ida.holm@example.com")
    for number, (sid, email) in enumerate(
        [
            ("pricing-call", "ida.holm@example.com"),
            ("support-30-min", "li.wei@example.com"),
            ("somewhere-else", "kim@example.com"),
        ]
    ):
        booking = {"sid": f"bk-{7301 + number}", "name": "A stranger", "email": email}
        event = {"event": "booking_created", "booking": {**booking, "meeting": {"sid": sid}}}
        body = json.dumps(event).encode()
        answer = product.api(
            "POST", "/v1/webhooks/default", key="", content=body, headers=signed(product, body)
        )
        assert answer.status_code == 202, answer.text
    other = json.dumps({"event": "host_updated", "host": {"name": "Ada"}}).encode()
    product.api(
        "POST", "/v1/webhooks/default", key="", content=other, headers=signed(product, other)
    )
