"""Run linkpool itself as `linkpool api` starts it: key check, validation, stream, metrics."""

from __future__ import annotations

from bench.contestants.base import InRedis
from bench.loads.request import Request
from bench.stage import Stage


class Linkpool(InRedis):
    """The product with some API workers."""

    def __init__(self, stage: Stage, workers: int, links_per_second: int) -> None:
        super().__init__(stage, f"bench-linkpool-{workers}", links_per_second)
        self.name = f"linkpool-{workers}"
        self.title = f"linkpool, {workers} API worker{'s' if workers > 1 else ''}"
        self._workers = workers
        self.port = 0

    def start(self) -> None:
        """Start the API."""
        self.process, self.port = self.stage.api(self._workers)
        self.process.start()

    @property
    def request(self) -> Request:
        """Return a claim."""
        return self.stage.request(self.port, self.sid)
