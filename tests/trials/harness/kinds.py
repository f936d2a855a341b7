"""Choose the kinds of Redis and ledger for the trials; the command line sets them once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.trials.harness.stage import Stage


@dataclass(slots=True)
class Chosen:
    """The kinds of Redis and ledger that a trial runs on."""

    redis: str = "one"  # or sentinels
    database: str = "sqlite"  # or postgresql, behind PgBouncer, or plain-postgresql


chosen = Chosen()


def make_stage(**options: Any) -> Stage:
    """Return a stage of the chosen kind."""
    if chosen.redis == "sentinels":
        from tests.trials.harness.sentinels import SentinelStage

        return SentinelStage(**options)
    from tests.trials.harness.stage import Stage

    return Stage(**options)
