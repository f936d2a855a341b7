"""Set up the stages of the trials that need more than API servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.trials.harness.kinds import make_stage
from tests.trials.harness.postgres import LedgerServer
from tests.trials.harness.preloaded import Preloaded, clock, disk
from tests.trials.harness.stage import Stage

# A provider that fails is probed every second instead of every minute.
PROBE_SECONDS = 1.0
_PATIENCE = {"PROBE_SECONDS": "1", "PROVIDER_TIMEOUT_SECONDS": "1", "DIRECT_TIMEOUT_SECONDS": "1"}


@contextmanager
def whole(seed: int) -> Iterator[Stage]:
    """Run everything: two API servers, a worker, a beat and a provider."""
    with make_stage(seed=seed, **_PATIENCE) as stage:
        stage.start_servers(2)
        stage.start_sandbox()
        stage.start_worker()
        yield stage


@contextmanager
def without_worker(seed: int) -> Iterator[Stage]:
    """Run one API server and a provider; the trial brings its own workers."""
    with make_stage(seed=seed, **_PATIENCE) as stage:
        stage.start_servers(1)
        stage.start_sandbox()
        yield stage


@contextmanager
def nothing_yet(seed: int) -> Iterator[Stage]:
    """Run Redis and a ledger; the trial starts the rest."""
    with make_stage(seed=seed, **_PATIENCE) as stage:
        yield stage


class ClockedStage(Stage):
    """A stage whose parts share one clock that can be set."""

    clock: Preloaded


@contextmanager
def clocked(seed: int) -> Iterator[ClockedStage]:
    """Run everything; all parts but the provider share a clock of their own."""
    with ClockedStage(seed=seed, **_PATIENCE) as stage:
        stage.clock = clock(stage.directory)
        with stage.clock.worn():
            stage.redis_server.restart()
            stage.start_servers(1)
            stage.start_worker()
        stage.start_sandbox()
        yield stage


class FullStage(Stage):
    """A stage whose disks can be full, that of Redis and that of the ledger."""

    redis_disk: Preloaded
    ledger_disk: Preloaded | LedgerServer


@contextmanager
def on_small_disks(seed: int) -> Iterator[FullStage]:
    """Run everything on two disks."""
    with FullStage(seed=seed, **_PATIENCE) as stage:
        stage.redis_disk = disk(stage.directory, "redis-disk")
        with stage.redis_disk.worn():
            stage.redis_server.restart()
        with ExitStack() as worn:
            if stage.postgres is not None:
                stage.ledger_disk = stage.postgres
            else:
                stage.ledger_disk = disk(stage.directory, "ledger-disk")
                worn.enter_context(stage.ledger_disk.worn())
            stage.start_servers(1)
            stage.start_worker()
        stage.start_sandbox()
        yield stage
