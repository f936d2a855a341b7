"""Measure claims per second from the stream into the ledger, by the product's own recorder."""

from __future__ import annotations

import secrets
import time

from bench import preload
from bench.measures.base import Bench
from bench.postgres import NoPostgres, Postgres
from bench.rows import Goal, Row
from bench.stage import Stage, quiet_meeting
from pool.compose import Parts

SID = "bench-recorder"


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
    await preload.rows(parts, SID, count, prefix=prefix)
    started = time.perf_counter()
    recorded = await parts.recorder.record(SID)
    took = time.perf_counter() - started
    if recorded != count:
        raise RuntimeError(f"{recorded} of {count} claims were recorded")
    return count / took
