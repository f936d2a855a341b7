"""Run a page's backend without a pool as a contestant."""

from __future__ import annotations

from bench.contestants.base import WithoutLinks, stop_all
from bench.contestants.serving import uvicorn
from bench.loads.request import Request, claim_request
from bench.processes import Process
from bench.stage import SANDBOX_KEY, Stage
from pool.up import ports

PROVIDER_SECONDS = 0.15


class NoPool(WithoutLinks):
    """One call to the provider per view, at the provider's latency and without any limit."""

    name = "no-pool"
    title = "no pool: the provider asked per view"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._port = ports.choose()
        self._running: list[Process] = []

    def start(self) -> None:
        """Start the sandbox and the backend."""
        sandbox = self._stage.sandbox("--latency-seconds", str(PROVIDER_SECONDS))
        self._running.append(sandbox)
        sandbox.start()
        backend = uvicorn(
            "bench.contestants.no_pool_app:app",
            port=self._port,
            workers=1,
            log=self._stage.log(self.name),
            environ={
                "BENCH_PROVIDER_URL": f"http://127.0.0.1:{self._stage.sandbox_port}",
                "BENCH_PROVIDER_KEY": SANDBOX_KEY,
            },
        )
        self._running.append(backend)
        backend.start()

    def stop(self) -> None:
        """End both."""
        stop_all(self._running)

    @property
    def request(self) -> Request:
        """Return a page view."""
        return claim_request(self._port, "/v1/meetings/bench-view/claims")
