"""Measure the claim path with recorder and sweep running, and with the ledger down.

Here every link has its row in the ledger, on PostgreSQL where there is one, else SQLite.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from bench import preload
from bench.loads.request import Request
from bench.loads.wrk import Load, wrk
from bench.measures.base import Bench, warm_up
from bench.postgres import NoPostgres, Postgres
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting
from pool.compose import Parts
from pool.model.times import to_ms

SID = "bench-whole"
CONNECTIONS = 64
_AT_ONCE = 2_000
_WORKER_SECONDS = 5.0  # until a worker that was just started has swept


def measure(bench: Bench) -> list[Row]:
    """Measure rates with the worker off, with it on, and with the ledger stopped."""
    bench.needs_wrk()
    with ExitStack() as stack:
        postgres: Postgres | None = None
        try:
            postgres = stack.enter_context(Postgres())
        except NoPostgres as error:
            bench.lack(f"the whole on SQLite, and not with the ledger down: {error}")
        stage = stack.enter_context(Stage(database_url=postgres.url if postgres else None))
        stage.open_meetings([quiet_meeting(SID)])
        api, port = stage.api(2)
        stack.enter_context(api)
        return _rows(*_loads(bench, stage, stage.request(port, SID), postgres))


def _loads(
    bench: Bench, stage: Stage, request: Request, postgres: Postgres | None
) -> tuple[list[Load], list[Load], list[Load]]:
    alone: list[Load] = []
    whole: list[Load] = []
    down: list[Load] = []

    def load(into: list[Load], what: str) -> None:
        seconds, threads = bench.options.seconds, bench.options.wrk_threads
        warm_up(bench, request, CONNECTIONS)
        into.append(wrk(request, connections=CONNECTIONS, seconds=seconds, threads=threads))
        bench.say(f"{what}: {into[-1].rate:,.0f}/s")

    # Rows for every link take longer than the links: as many as the first load asks for.
    per_second = 10_000 if bench.options.quick else 40_000
    for _ in range(bench.options.runs):
        _fill(stage, int(per_second * (bench.options.seconds + 1)))
        load(alone, "worker off")
        _fill(stage, int(per_second * (bench.options.seconds + 1)))
        with stage.worker(), stage.beat():
            time.sleep(1 if bench.options.quick else _WORKER_SECONDS)
            load(whole, "worker on")
        if postgres is not None:
            _fill(stage, int(per_second * (bench.options.seconds + 1)))
            with _stopped(postgres):
                load(down, "ledger down")
    return alone, whole, down


@contextmanager
def _stopped(postgres: Postgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


def _fill(stage: Stage, count: int) -> None:
    """Record what is unrecorded, and provide `count` fresh links in the pool, with their rows."""

    async def fill(parts: Parts) -> None:
        await parts.recorder.record(SID)
        level = (await parts.store.look([SID]))[0]
        missing = max(0, count - level.fresh)
        for start in range(0, missing, _AT_ONCE):
            prefix = secrets.token_hex(4)
            slugs = [f"one-off-{prefix}{n:04x}" for n in range(min(_AT_ONCE, missing - start))]
            await parts.ledger.links.insert_fresh(preload.made_up(SID, slugs, level.epoch))
            await parts.store.add(SID, level.epoch, slugs, to_ms(datetime.now(UTC)))

    stage.work(fill)


def _rows(alone: list[Load], whole: list[Load], down: list[Load]) -> list[Row]:
    rates = [load.rate for load in alone]
    rows = [
        ratio(
            "ratio.rate.whole.alone",
            "claims/s with recorder and sweep on, against off (2 API workers, 64 connections)",
            [load.rate for load in whole],
            rates,
            note="they share the cores with API, Redis and load generator",
        ),
        Row("rate.alone", "worker off", "claims/s", tuple(rates)),
        Row("rate.whole", "everything on", "claims/s", tuple(load.rate for load in whole)),
        Row("p99.whole", "everything on: p99", "ms", tuple(load.p99_ms for load in whole)),
    ]
    if down:
        rows += [
            ratio(
                "ratio.rate.down.alone",
                "claims/s while the ledger is down, against up (worker off in both)",
                [load.rate for load in down],
                rates,
                Goal(at_least=0.95),
            ),
            Row("rate.down", "ledger down", "claims/s", tuple(load.rate for load in down)),
        ]
    return rows
