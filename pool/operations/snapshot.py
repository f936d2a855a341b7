"""How the whole service is at one moment, as far as that can be known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pool.operations.status import MeetingStatus
from pool.store.records import Block


@dataclass(frozen=True, slots=True)
class WorkspaceHealth:
    """How a provider treats one workspace."""

    name: str
    requests_per_second: float | None  # what the budget allows; None before the first request
    block: Block | None


@dataclass(frozen=True, slots=True)
class LedgerHealth:
    """Whether the ledger answers; `unmatched` is None until it has told."""

    problem: str = ""
    unmatched: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading. While Redis is away, `store_problem` says so and what it would tell is empty."""

    at: datetime
    every_seconds: float  # the next one comes after so long
    ledger: LedgerHealth
    store_problem: str = ""
    found: tuple[MeetingStatus, ...] = ()  # the most urgent first
    heartbeat_at_ms: int | None = None
    workspaces: tuple[WorkspaceHealth, ...] = ()
