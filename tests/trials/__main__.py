"""Run the trials for any length of time: see `python -m tests.trials --help`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from pool.telemetry.logs import configure_logging
from tests.own_ports import keep_apart
from tests.trials.catalogue import TRIALS
from tests.trials.harness import kinds
from tests.trials.harness.clusters import on_cluster
from tests.trials.harness.lacking import Lacking
from tests.trials.harness.stages import ordinary
from tests.trials.harness.trial import Outcome, Trial, table


def main() -> int:
    """Return the exit status: 0 if every promise was kept, 1 if not."""
    options = _options()
    keep_apart()
    configure_logging(log_format="console", log_level="error")
    # As with Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [trial for trial in TRIALS if not options.only or trial.number in options.only]
    if options.redis == "cluster":
        # Those on the ordinary stage, and those that are about nothing but a Cluster.
        chosen = [
            replace(trial, stage=on_cluster)
            for trial in chosen
            if trial.stage in (ordinary, on_cluster)
        ]
    kinds.chosen.redis, kinds.chosen.database = options.redis, options.database
    if not chosen:
        sys.stderr.write(f"there is no such trial; there are {_numbers(TRIALS)}\n")
        return 2
    ends = time.monotonic() + options.seconds if options.seconds else 0.0
    outcomes: list[Outcome] = []
    seed = options.seed
    while True:
        for outcome in _round(chosen, seed, full=options.full, size=options.size):
            outcomes.append(outcome)
            print(outcome.line(), flush=True)
            if not outcome.passed:
                print(outcome.complaints(), flush=True)
            if ends and time.monotonic() > ends:
                break
        seed += 1
        if time.monotonic() >= ends:
            break
    text = table(outcomes, {trial.number: trial.title for trial in TRIALS})
    print(f"\n{text}")
    if options.table:
        Path(options.table).write_text(text + "\n", "utf-8")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _round(trials: list[Trial], seed: int, *, full: bool, size: int | None) -> Iterator[Outcome]:
    """Run each trial once. Trials that follow each other on the same stage share it."""
    for stage_of, same in groupby(trials, key=lambda trial: trial.stage):
        group = list(same)
        try:
            with stage_of(seed) as stage:
                for trial in group:
                    size_of = size or (trial.full if full else trial.bounded) or 1
                    yield trial.on(stage, seed, size_of)
        except Lacking as what:
            sys.stderr.write(f"not run, this machine lacks {what}: {_numbers(group)}\n")


def _numbers(trials: list[Trial]) -> str:
    return ", ".join(trial.number for trial in trials)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.trials", description=__doc__)
    parser.add_argument("--only", type=lambda text: text.split(","), help="e.g. 6,7,chaos")
    parser.add_argument(
        "trial", nargs="?", choices=["chaos"], help="chaos: that one alone, with --claims"
    )
    parser.add_argument("--claims", type=int, help="how many claims are answered in the chaos")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (1)")
    parser.add_argument(
        "--redis",
        choices=["one", "sentinels", "cluster"],
        default="one",
        help="where the pools are (one)",
    )
    parser.add_argument(
        "--database", choices=["sqlite", "postgresql", "plain-postgresql"], default="sqlite",
        help="where the ledger is (sqlite); postgresql runs behind PgBouncer, plain-postgresql"
        " without",
    )  # fmt: skip
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--full", action="store_true", help="in the sizes of the table")
    length.add_argument(
        "--seconds", type=float, default=0.0, help="round after round, each with its own seed"
    )
    length.add_argument("--size", type=int, help="operations or faults, as the trial counts them")
    parser.add_argument("--table", metavar="FILE", help="where the Markdown table goes as well")
    options = parser.parse_args()
    if options.trial or options.claims:
        options.only, options.size = ["chaos"], options.claims or options.size
    return options


if __name__ == "__main__":
    sys.exit(main())
