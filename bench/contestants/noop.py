"""Run a server that does nothing as a contestant."""

from __future__ import annotations

from bench.contestants.base import OneProcess, WithoutLinks
from bench.contestants.serving import uvicorn
from bench.loads.request import Request, claim_request
from bench.processes import PYTHON, Process
from bench.stage import Stage
from pool.up import ports


class Noop(OneProcess, WithoutLinks):
    """A no-op ASGI application, on plain uvicorn or on the very server the API runs on."""

    def __init__(self, stage: Stage, workers: int, *, as_api: bool = False) -> None:
        plural = "s" if workers > 1 else ""
        self.name = f"noop{'-api' if as_api else ''}-{workers}"
        server = "the API's own server" if as_api else "uvicorn"
        self.title = f"no-op ASGI on {server}, {workers} worker{plural}"
        self._stage = stage
        self._workers = workers
        self._as_api = as_api
        self._port = ports.choose()

    def start(self) -> None:
        """Start it."""
        log = self._stage.log(self.name)
        if self._as_api:
            environ = self._stage.environ(
                self.name, API_WORKERS=self._workers, HOST="127.0.0.1", PORT=self._port
            )
            command = [PYTHON, "-m", "bench.contestants.noop_app"]
            self.process = Process(command, log, environ=environ, port=self._port)
        else:
            self.process = uvicorn(
                "bench.contestants.noop_app:app",
                port=self._port,
                workers=self._workers,
                log=log,
                environ={},
            )
        self.process.start()

    @property
    def request(self) -> Request:
        """Return a claim."""
        return claim_request(self._port, "/v1/meetings/bench-noop/claims", key="lp_none")
