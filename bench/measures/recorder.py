"""Measure claims per second from the stream into the ledger, by the product's own recorder."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

from bench import preload
from bench.measures.base import Bench
from bench.postgres import NoPostgres, Postgres
from bench.rows import Goal, Row
from bench.stage import Stage, quiet_meeting
from pool.compose import Parts
from pool.model.links import Link, State

SID = "bench-recorder"
_AT_ONCE = 5_000


def measure(bench: Bench) -> list[Row]:
    """Measure the rate on SQLite and on PostgreSQL."""
    rows = [_row(bench, "SQLite", None)]
    try:
        with Postgres() as postgres:
            rows.append(_row(bench, "PostgreSQL", postgres.url))
    except NoPostgres as error:
        bench.lack(f"no recorder on PostgreSQL: {error}")
    return rows


def _row(bench: Bench, name: str, database_url: str | None) -> Row:
    count = bench.options.sizes.recorder_claims
    rates = []
    with Stage(database_url=database_url) as stage:
        stage.open_meetings([quiet_meeting(SID)])
        for _ in range(bench.options.runs):
            prefix = secrets.token_hex(2)
            preload.stream(stage.redis, SID, count, prefix=prefix)
            rates.append(stage.work(lambda parts, prefix=prefix: _record(parts, prefix, count)))  # type: ignore[misc]
            bench.say(f"recorder on {name}: {rates[-1]:,.0f}/s")
    return Row(
        f"recorder.{name.lower()}",
        f"recorder on {name}, {count:,} claims whose links have rows",
        "claims/s",
        tuple(rates),
        Goal(at_least=20_000),
    )


async def _record(parts: Parts, prefix: str, count: int) -> float:
    made_at = datetime.now(UTC)
    for start in range(0, count, _AT_ONCE):
        await parts.ledger.links.insert_fresh(
            [
                _fresh(f"one-off-{prefix}{n:08x}", made_at)
                for n in range(start, min(start + _AT_ONCE, count))
            ]
        )
    started = time.perf_counter()
    recorded = await parts.recorder.record(SID)
    took = time.perf_counter() - started
    if recorded != count:
        raise RuntimeError(f"{recorded} of {count} claims were recorded")
    return count / took


def _fresh(slug: str, made_at: datetime) -> Link:
    return Link(
        slug=slug,
        url=f"https://sandbox.neetocal.com/{slug}",
        meeting_sid=SID,
        state=State.FRESH,
        source="pool",
        epoch="bench",
        created_at=made_at,
    )
