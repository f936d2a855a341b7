"""Hold the known state of the whole service at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pool.operations.status import MeetingStatus
from pool.operations.vitals import Vitals
from pool.store.records import Block

_PATIENCE_SECONDS = 4.0  # a loaded machine reads a little later


@dataclass(frozen=True, slots=True)
class WorkspaceHealth:
    """The request budget of one workspace, and its block, if any."""

    name: str
    requests_per_second: float | None  # allowed by the budget; None before the first request
    block: Block | None


@dataclass(frozen=True, slots=True)
class LedgerHealth:
    """The ledger's problem, if any. `unmatched` is None until the ledger has answered."""

    problem: str = ""
    unmatched: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading. While Redis does not answer, `store_problem` says so; its values are empty."""

    at: datetime
    every_seconds: float  # until the next reading
    ledger: LedgerHealth = LedgerHealth()
    store_problem: str = ""
    found: tuple[MeetingStatus, ...] = ()  # the most urgent first
    heartbeat_at_ms: int | None = None
    workspaces: tuple[WorkspaceHealth, ...] = ()
    is_read: bool = True  # False: the pools were not looked at yet
    vitals: Vitals | None = None  # what is known of the parts; it may be newer than the pools

    @property
    def late_seconds(self) -> float:
        """Return how old the pools are, 0.0 while they are as new as they should be."""
        if self.vitals is None or not self.is_read or self.store_problem:
            return 0.0
        age = (self.vitals.at - self.at).total_seconds()
        return age if age > 3 * self.every_seconds + _PATIENCE_SECONDS else 0.0
