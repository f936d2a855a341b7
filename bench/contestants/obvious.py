"""Run the obvious service as a contestant."""

from __future__ import annotations

from bench.contestants.base import InRedis
from bench.contestants.serving import uvicorn
from bench.loads.request import Request, claim_request
from bench.stage import Stage
from pool.store import scripts
from pool.up import ports


class Obvious(InRedis):
    """FastAPI, uvicorn and redis-py with some workers."""

    def __init__(self, stage: Stage, workers: int, links_per_second: int) -> None:
        super().__init__(stage, f"bench-obvious-{workers}", links_per_second)
        self.name = f"obvious-{workers}"
        self.title = f"FastAPI + redis-py, {workers} worker{'s' if workers > 1 else ''}"
        self._workers = workers
        self._port = ports.choose()

    def start(self) -> None:
        """Start it."""
        self.process = uvicorn(
            "bench.contestants.obvious_app:app",
            port=self._port,
            workers=self._workers,
            log=self.stage.log(self.name),
            environ={
                "BENCH_REDIS_URL": self.stage.redis_server.url(),
                "BENCH_CLAIM_SCRIPT": scripts.source("claim"),
            },
        )
        self.process.start()

    @property
    def request(self) -> Request:
        """Return a claim without a key: this service checks none."""
        return claim_request(self._port, f"/v1/meetings/{self.sid}/claims")
