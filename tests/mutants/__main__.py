"""Make one small change after the other to the core, and report those that no test notices.

    python -m tests.mutants run [ROOM...] [--since REVISION] [--again] [--sample N --seed S]
    python -m tests.mutants scores
    python -m tests.mutants list

`make mutants` and `make mutants-changed BASE=...` are the usual ways to call it.
"""

from __future__ import annotations

import argparse
import ast
import math
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutants import changes, results, trying

GOAL = 90  # of a hundred, in each room


def main() -> int:
    """Do what the command line asks. Return 1 if a room is below the goal or a mutant is
    unexplained.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="try the mutants that were not noticed yet")
    run.add_argument("rooms", nargs="*", metavar="ROOM", help="none: all rooms")
    run.add_argument("--since", metavar="REVISION", help="only functions changed since then")
    run.add_argument("--again", action="store_true", help="also those that were noticed before")
    run.add_argument("--limit", type=int, metavar="N", help="at most so many, spread evenly")
    run.add_argument("--sample", type=int, metavar="N", help="of each room at most so many")
    run.add_argument("--seed", type=int, default=1, metavar="S", help="which ones a sample takes")
    run.add_argument("--only", metavar="PATH", help="only the files whose names contain this")
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at a time")
    run.add_argument(
        "--patience", type=float, default=15.0, metavar="SECONDS",
        help="run tests for one mutant that compute so long in all; the likeliest come first",
    )  # fmt: skip
    run.add_argument("--untried", action="store_true", help="only those that were never tried")
    run.add_argument(
        "--minutes", type=float, metavar="M", help="begin no more after that; call it again",
    )  # fmt: skip
    commands.add_parser("scores", help="print what is known by now")
    commands.add_parser("list", help=f"write {results.SURVIVORS.name}")
    args = parser.parse_args()
    wanted = set(getattr(args, "rooms", ()) or results.rooms())
    if unknown := wanted - set(results.rooms()):
        parser.error(f"no such room: {', '.join(sorted(unknown))}")
    every = [each for room in results.rooms() if room in wanted for each in _mutants(room)]
    if args.command == "list":
        print(f"{results.write_list(every)} survivors without a reason")
        return 0
    if args.command == "scores":
        return _print_scores(every)
    functions = changed_functions(args.since) if args.since else None
    chosen = [
        each
        for each in every
        if (not args.only or args.only in str(each.path))
        and (functions is None or (each.path, each.function) in functions)
    ]
    if args.sample:
        chosen = sampled(chosen, args.sample, args.seed)
    if args.limit and len(chosen) > args.limit:
        chosen = chosen[:: -(-len(chosen) // args.limit)]
    ends = time.monotonic() + 60 * args.minutes if args.minutes else math.inf
    tests = trying.Tests(results.tests(), args.patience, args.jobs, ends)
    left = [each for each in chosen if args.again or not results.noticed(each)]
    if args.untried:
        left = [each for each in left if results.status(each) == "not tried"]
    if args.minutes:
        random.Random(args.seed).shuffle(left)  # so that no room is left for the end
    left.sort(key=lambda each: results.status(each) != "not tried")  # the new ones first
    _try(left, tests)
    return _tell(chosen) if args.since else _print_scores(chosen)


def _mutants(room: str) -> list[changes.Mutant]:
    return [each for path in results.rooms()[room] for each in changes.of_file(room, path)]


def _try(mutants: Sequence[changes.Mutant], tests: trying.Tests) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    trying.WORK.mkdir(exist_ok=True)
    print(f"{len(mutants)} mutants to try", flush=True)
    if mutants:
        began = time.monotonic()
        paths = [path for paths in results.rooms().values() for path in paths]
        with results.book() as told:
            trying.try_all(mutants, paths, tests, told)
        print(f"{time.monotonic() - began:.0f} s for them, with what was learned before")


def sampled(
    mutants: Sequence[changes.Mutant], of_each_room: int, seed: int
) -> list[changes.Mutant]:
    """Return a random sample of this size of each room. The same seed gives the same one."""
    by_room: dict[str, list[changes.Mutant]] = {}
    for each in mutants:
        by_room.setdefault(each.room, []).append(each)
    found = []
    for room, some in by_room.items():
        chance = random.Random(f"{seed} {room}")  # so that a room's sample is its own
        found += chance.sample(some, min(of_each_room, len(some)))
    return found


def changed_functions(since: str) -> set[tuple[Path, str]]:
    """Return the functions of the rooms that differ from that revision."""
    found: set[tuple[Path, str]] = set()
    for path in (each for paths in results.rooms().values() for each in paths):
        diff = subprocess.run(
            ["git", "diff", "--unified=0", since, "--", path],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        lines: set[int] = set()
        for begin, count in re.findall(r"^@@ .*\+(\d+)(?:,(\d+))? @@", diff, re.MULTILINE):
            # Of lines that were only taken out, the one before says where.
            lines |= set(range(int(begin), int(begin) + max(1, int(count or 1))))
        if lines:
            for name, first, last in _functions(ast.parse(path.read_text("utf-8"))):
                if lines & set(range(first, last + 1)):
                    found.add((path, name))
    return found


def _functions(module: ast.Module) -> Iterator[tuple[str, int, int]]:
    for node in module.body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for each in inner:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + each.name, each.lineno, each.end_lineno or each.lineno


def _tell(mutants: Sequence[changes.Mutant]) -> int:
    """Print the survivors among them that the list does not explain."""
    known = results.reasons()
    missed = [
        each
        for each in mutants
        if results.status(each) == "survived" and not known.get((each.name, each.change()))
    ]
    for each in missed:
        print(f"{each.name}: {each.change()}")
    print(f"{len(missed)} mutants that nobody notices and nobody explains")
    return 1 if missed else 0


def _print_scores(mutants: Sequence[changes.Mutant]) -> int:
    low = False
    for room, score in results.scores(mutants).items():
        if score.tried:
            low |= score.percent < GOAL
            print(
                f"{room:<12} {score.percent:5.1f} %   {score.noticed} of {score.tried} noticed, "
                f"{score.explained} others explained, {score.untried} not tried"
            )
        elif score.untried:
            print(f"{room:<12}     -     {score.untried} not tried")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
