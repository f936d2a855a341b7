"""Plan for very many claims over several regions, and simulate a day's worst minute of it.

    python -m bench.regions                       # the plan of docs/operations.md
    python -m bench.regions --claims 20000 --meetings 5000 --regions 2

Each meeting has one home: the Redis that binds its customers must be one. So regions share the
meetings out, and the edge sends a claim to the meeting's home. The simulation shares meetings of
very different popularity out as hashes do, lets claims come at random second by second, takes one
region away in the middle, and says what the busiest part of each kind carries.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# What one of each carries, from docs/performance.md, and the part of it that is planned with.
API_PER_SECOND = 45_000.0  # claims/s of one API process with a core of its own
MASTER_PER_SECOND = 80_000.0  # 10 to 15 µs of Redis's one core per claim
RECORDER_PER_SECOND = 25_000.0  # claims/s into one PostgreSQL
PLANNED = 0.4
FRESH_BYTES, BINDING_BYTES = 130, 200
BINDINGS_RECOVERED_PER_SECOND = 1_000_000 / 7.2


@dataclass(frozen=True, slots=True)
class Plan:
    """Say how many of each part a load over regions needs."""

    claims_per_second: float
    meetings: int
    regions: int
    skew: float  # of popularity: the n-th meeting has 1/n^skew of the first one's claims
    ttl_seconds: float  # for how long a binding lives
    cover_seconds: float  # for how long a pool's stock lasts
    seed: int

    @property
    def of_a_region(self) -> float:
        """Return claims/s that a region must carry when one of the others is away."""
        return self.claims_per_second / max(1, self.regions - 1)

    @property
    def masters(self) -> int:
        """Return Redis masters (of one Cluster) in each region."""
        return math.ceil(self.of_a_region / (MASTER_PER_SECOND * PLANNED))

    @property
    def processes(self) -> int:
        """Return API processes in each region."""
        return math.ceil(self.of_a_region / (API_PER_SECOND * PLANNED))


@dataclass(frozen=True, slots=True)
class Worst:
    """The busiest of each kind in any second, as a share of what it carries."""

    master: float
    process: float
    hottest_meeting_per_second: float


def simulate(plan: Plan, seconds: int = 60) -> Worst:
    """Return the worst of some seconds, in the second half of which one region is away."""
    chance = random.Random(plan.seed)  # noqa: S311 - a simulation, which must be repeatable
    weights = [1 / (n + 1) ** plan.skew for n in range(plan.meetings)]
    scale = plan.claims_per_second / sum(weights)
    homes = [_home(number, plan) for number in range(plan.meetings)]
    worst_master = worst_process = 0.0
    for away in (None, chance.randrange(plan.regions)) if plan.regions > 1 else (None,):
        load = [[0.0] * plan.masters for _ in range(plan.regions)]
        for (region, master), weight in zip(homes, weights, strict=True):
            there = region
            if region == away:  # its meetings are shared out among the others
                there = (region + 1 + master % (plan.regions - 1)) % plan.regions
            load[there][master] += weight * scale
        for _ in range(seconds // 2):
            for masters in load:
                came = [max(0.0, chance.gauss(each, math.sqrt(each))) for each in masters]
                worst_master = max(worst_master, *came)
                worst_process = max(worst_process, sum(came) / plan.processes)
    return Worst(
        worst_master / MASTER_PER_SECOND, worst_process / API_PER_SECOND, weights[0] * scale
    )


def _home(number: int, plan: Plan) -> tuple[int, int]:
    """Return region and master of a meeting, as a hash of its name shares them out."""
    found = int.from_bytes(hashlib.sha256(f"meeting-{number}".encode()).digest()[:8], "big")
    return found % plan.regions, found // plan.regions % plan.masters


def lines(plan: Plan) -> list[str]:
    """Return the plan as a Markdown table."""
    worst = simulate(plan)
    claims = plan.claims_per_second
    bindings = claims * plan.ttl_seconds
    memory = bindings * BINDING_BYTES + claims * plan.cover_seconds * FRESH_BYTES
    per_master = memory / max(1, plan.regions - 1) / plan.masters
    moved = bindings / plan.regions
    rows = [
        ("claims/s, meetings, regions", f"{claims:,.0f}, {plan.meetings:,}, {plan.regions}"),
        ("new bindings alive at a time", f"{bindings:,.0f}"),
        ("links asked of the provider", f"{claims:,.0f}/s, which no provider allows today"),
        ("Redis masters in each region", f"{plan.masters}, and a replica for each"),
        ("memory of one, with one region away", f"{per_master / 1e9:.1f} GB"),
        ("API processes in each region, a core each", f"{plan.processes}"),
        (
            "PostgreSQL in each region",
            f"{math.ceil(plan.of_a_region / (RECORDER_PER_SECOND * PLANNED * 2))} "
            "(workspaces are shared out among them)",
        ),
        ("the busiest master in any second", f"{worst.master:.0%} of what it carries"),
        ("the busiest API process", f"{worst.process:.0%}"),
        ("the hottest meeting", f"{worst.hottest_meeting_per_second:,.0f} claims/s"),
        (
            "a region's meetings serve again elsewhere after",
            f"{moved / BINDINGS_RECOVERED_PER_SECOND / max(1, plan.masters):,.0f} s for the last "
            "of them; each as soon as its own bindings are back",
        ),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan. Return the exit code, 1 if some part would carry more than it can."""
    parser = argparse.ArgumentParser(prog="python -m bench.regions", description=__doc__)
    parser.add_argument("--claims", type=float, default=100_000, help="claims/s (100,000)")
    parser.add_argument("--meetings", type=int, default=100_000)
    parser.add_argument("--regions", type=int, default=3)
    parser.add_argument("--skew", type=float, default=0.8, help="of popularity; 0: none (0.8)")
    parser.add_argument("--ttl-seconds", type=float, default=3_600, help="a binding lives (3600)")
    parser.add_argument("--cover-seconds", type=float, default=300, help="of stock (300)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    plan = Plan(
        given.claims, given.meetings, given.regions, given.skew, given.ttl_seconds,
        given.cover_seconds, given.seed,
    )  # fmt: skip
    sys.stdout.write("\n".join(lines(plan)) + "\n")
    worst = simulate(plan)
    return 0 if max(worst.master, worst.process) < 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
