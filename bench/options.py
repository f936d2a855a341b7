"""Say how much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of what is measured."""

    connections: tuple[int, ...] = (1, 16, 64, 256)
    links_per_second: int = 60_000  # stock per second of a run: more than anything here takes
    links_per_second_sql: int = 15_000
    scale_fresh: int = 10_000_000
    scale_bindings: int = 1_000_000
    scale_meetings: int = 10_000
    memory_each: int = 100_000
    idle_seconds: float = 70.0
    recorder_claims: int = 100_000
    recovery_bindings: int = 1_000_000
    recovery_meetings: int = 1_000
    top_up_warm_seconds: int = 15
    top_up_seconds: int = 40
    settle_seconds: int = 40
    plan_meetings: int = 10_000
    plan_low: int = 500
    isolation_meetings: int = 200
    isolation_links: int = 20
    ledger_small: int = 100_000
    ledger_large: int = 10_000_000


QUICK = Sizes(
    connections=(1, 16),
    links_per_second=30_000,
    scale_fresh=50_000,
    scale_bindings=5_000,
    scale_meetings=100,
    memory_each=5_000,
    idle_seconds=2.0,
    recorder_claims=5_000,
    recovery_bindings=5_000,
    recovery_meetings=20,
    top_up_warm_seconds=1,
    top_up_seconds=2,
    settle_seconds=3,
    plan_meetings=200,
    plan_low=10,
    isolation_meetings=30,
    isolation_links=6,
    ledger_small=10_000,
    ledger_large=20_000,
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    runs: int
    seconds: float  # of load, per run
    minutes: float  # of the soak
    wrk_threads: int
    out: Path
    only: tuple[str, ...]
    quick: bool
    sizes: Sizes
    keep: Path | None = None  # where filled ledgers stay, to be measured again
    fill_only: bool = False

    def command(self, measure: str) -> str:
        """Return the command that makes a measure's numbers."""
        if self.quick:
            return f"python -m bench --quick --only {measure}"
        rest = f" --minutes {self.minutes:g}" if measure in ("soak", "tail") else ""
        if measure == "ledger" and self.sizes.ledger_large != Sizes().ledger_large:
            rest = f" --links {self.sizes.ledger_large}"
        return (
            f"python -m bench --only {measure} --runs {self.runs} --seconds {self.seconds:g}{rest}"
        )
