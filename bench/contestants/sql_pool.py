"""Run the queue table as a contestant."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from bench.contestants.base import OneProcess
from bench.contestants.serving import uvicorn
from bench.contestants.sql_app import TABLE
from bench.loads.request import Request, claim_request
from bench.postgres import Postgres
from bench.stage import Stage
from pool.up import ports

SID = "bench-sql"


class SqlPool(OneProcess):
    """FOR UPDATE SKIP LOCKED on PostgreSQL with some workers."""

    def __init__(
        self, stage: Stage, postgres: Postgres, workers: int, links_per_second: int
    ) -> None:
        self.name = f"sql-{workers}"
        self.title = f"FastAPI + PostgreSQL, {workers} worker{'s' if workers > 1 else ''}"
        self._stage = stage
        self._postgres = postgres
        self._workers = workers
        self._links_per_second = links_per_second
        self._port = ports.choose()

    def start(self) -> None:
        """Make the table and start the service."""
        self._sql(TABLE)
        self.process = uvicorn(
            "bench.contestants.sql_app:app",
            port=self._port,
            workers=self._workers,
            log=self._stage.log(self.name),
            environ={"BENCH_DATABASE_URL": self._postgres.url},
        )
        self.process.start()

    def refill(self, seconds: float) -> None:
        """Fill the table anew, and gather the planner's statistics."""
        count = int(self._links_per_second * (seconds + 1))
        self._sql(
            "TRUNCATE pool_links; INSERT INTO pool_links (slug, meeting_sid) "  # noqa: S608
            f"SELECT 'one-off-' || lpad(to_hex(n), 12, '0'), '{SID}' "
            f"FROM generate_series(1, {count}) AS n"
        )
        self._sql("VACUUM ANALYZE pool_links")

    def level(self) -> int | None:
        """Return the number of links left."""
        return int(self._sql("SELECT count(*) FROM pool_links WHERE customer_id IS NULL"))

    @property
    def request(self) -> Request:
        """Return a claim without a key: this service checks none."""
        return claim_request(self._port, f"/v1/meetings/{SID}/claims")

    def _sql(self, statement: str) -> Any:
        async def run() -> Any:
            connection = await asyncpg.connect(self._postgres.url)
            try:
                if statement.startswith("SELECT"):
                    return await connection.fetchval(statement)
                return await connection.execute(statement)
            finally:
                await connection.close()

        return asyncio.run(run())
