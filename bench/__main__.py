"""Run `python -m bench`: measure linkpool and its peers, and write the results.

Exit codes: 0 done, 1 a measure failed (the others are written), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from bench import plot, report
from bench.measures.base import Bench, Missing
from bench.measures.catalogue import MEASURES
from bench.options import QUICK, Options, Sizes
from bench.rows import Row


def parse(arguments: list[str] | None = None) -> Options:
    """Parse the options of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures linkpool against its peers, side by side, on this machine.",
        epilog="measures: " + ", ".join(MEASURES),
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=list(MEASURES), help="take these measures"
    )
    parser.add_argument("--runs", type=int, help="runs of each contestant (5)")
    parser.add_argument("--seconds", type=float, help="seconds of load per run (5)")
    parser.add_argument(
        "--minutes", type=float, help="minutes of the soak, and of the tail at half the peak (10)"
    )
    parser.add_argument(
        "--links", type=int, help="links of the large ledger, against 100,000 (10000000)"
    )
    parser.add_argument(
        "--keep", type=Path, help="directory in which filled ledgers stay, to be measured again"
    )
    parser.add_argument(
        "--fill-only", action="store_true", help="fill the ledgers of --keep, and measure nothing"
    )
    parser.add_argument("--wrk-threads", type=int, default=2, help="threads of wrk (2)")
    parser.add_argument(
        "--out", type=Path, default=Path("bench-results"), help="directory of the results"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short run of everything, small: only shows that it works",
    )
    given = parser.parse_args(arguments)
    for name in ("runs", "seconds", "minutes", "links", "wrk_threads"):
        value = getattr(given, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0")
    if given.fill_only and given.keep is None:
        parser.error("--fill-only needs --keep")
    chosen = given.only or [
        name
        for name, each in MEASURES.items()
        if each.by_default and (each.in_quick or not given.quick)
    ]
    sizes = QUICK if given.quick else Sizes()
    if given.links:
        sizes = replace(sizes, ledger_large=given.links)
    return Options(
        runs=given.runs or (1 if given.quick else 5),
        seconds=given.seconds or (1.0 if given.quick else 5.0),
        minutes=given.minutes or (0.2 if given.quick else 10.0),
        wrk_threads=given.wrk_threads,
        out=given.out,
        only=tuple(name for name in MEASURES if name in chosen),
        quick=given.quick,
        sizes=sizes,
        keep=given.keep,
        fill_only=given.fill_only,
    )


def main(arguments: list[str] | None = None) -> int:
    """Take the measures and write the results. Return the exit code."""
    options = parse(arguments)
    bench = Bench(options)
    results: dict[str, list[Row]] = {}
    failed = []
    try:
        for name in options.only:
            bench.say(f"== {name}: {MEASURES[name].title}")
            try:
                results[name] = MEASURES[name].take(bench)
            except Missing as missing:
                bench.lack(f"{name}: {missing}")
            except Exception as error:  # noqa: BLE001 - the other measures are still worth taking
                traceback.print_exc()
                bench.lack(f"{name} failed: {type(error).__name__}: {error}")
                failed.append(name)
            # After each, so that an interrupted run leaves what it has.
            paths = report.write(results, bench.missing, options)
    except KeyboardInterrupt:
        bench.lack("interrupted: what follows was not measured")
        paths = report.write(results, bench.missing, options)
        failed.append("interrupted")
    try:
        paths += plot.draw(results, options.out, quick=options.quick)
    except plot.NoPlot as reason:
        bench.say(f"no plot: {reason}")
    for path in paths:
        sys.stdout.write(f"{path}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    # Ended by a signal, it ends what it has started and writes what it has, as at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise SystemExit(main())
