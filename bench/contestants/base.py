"""Define what every contestant can do."""

from __future__ import annotations

import secrets
from typing import Protocol

from bench import preload
from bench.loads.request import Request
from bench.processes import Process
from bench.stage import Stage, quiet_meeting


class Contestant(Protocol):
    """One way to give a visitor a link."""

    name: str
    title: str

    def start(self) -> None:
        """Start the contestant and return once it listens."""

    def stop(self) -> None:
        """End it."""

    def refill(self, seconds: float) -> None:
        """Forget earlier customers, and provide links for a run of this length."""

    def level(self) -> int | None:
        """Return the number of links left, or None if it has none to give."""

    @property
    def request(self) -> Request:
        """Return a claim of a new customer."""


class OneProcess:
    """The common part of contestants that are one process, which `start` sets."""

    process: Process | None = None

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()


class WithoutLinks:
    """The common part of contestants that give no links out."""

    def refill(self, seconds: float) -> None:
        """Do nothing: there is no pool to fill."""

    def level(self) -> int | None:
        """Return None: it has no pool."""
        return None


class InRedis(OneProcess):
    """The common part of contestants whose links are in Redis."""

    def __init__(self, stage: Stage, sid: str, links_per_second: int) -> None:
        self.stage = stage
        self.sid = sid
        self._links_per_second = links_per_second
        self._prefix = secrets.token_hex(2)
        self._made = 0
        stage.open_meetings([quiet_meeting(sid)])

    def refill(self, seconds: float) -> None:
        """Take back all claims and fill the pool up."""
        preload.forget_claims(self.stage.redis, self.sid)
        wanted = int(self._links_per_second * (seconds + 1))
        missing = wanted - preload.level(self.stage.redis, self.sid)
        if missing > 0:
            preload.fresh_links(
                self.stage.redis, self.sid, missing, prefix=self._prefix, first=self._made
            )
            self._made += missing

    def level(self) -> int | None:
        """Return the number of links left."""
        return preload.level(self.stage.redis, self.sid)


def stop_all(processes: list[Process]) -> None:
    """End these processes, the last started first."""
    while processes:
        processes.pop().stop()
