"""Set up the stage that most trials share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.trials.harness.kinds import make_stage
from tests.trials.harness.stage import Stage


@contextmanager
def ordinary(seed: int, *, servers: int = 2) -> Iterator[Stage]:
    """Set up Redis and the provider behind proxies, some API servers, a worker and a beat."""
    with make_stage(seed=seed) as stage:
        stage.start_servers(servers)
        stage.start_sandbox()
        stage.start_worker()
        yield stage
