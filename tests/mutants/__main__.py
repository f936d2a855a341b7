"""Make one small change after the other to the core, and report those that no test notices.

    python -m tests.mutants run [ROOM...] [--since REVISION] [--again] [--sample N --seed S]
    python -m tests.mutants scores
    python -m tests.mutants list

`make mutants` and `make mutants-changed BASE=...` are the usual ways to call it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import mutmut.__main__ as mutmut

from tests.mutants import operators, results

WORK = Path("mutants")
GOAL = 90  # of a hundred, in each room
TESTS_LEFT_OUT = 10  # at most; on a busy machine some that watch the clock may fail


def main() -> int:
    """Do what the command line asks; 1 if a room is below the goal, or a mutant unexplained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="try the mutants that were not noticed yet")
    run.add_argument("rooms", nargs="*", metavar="ROOM", help="none: all rooms")
    run.add_argument("--since", metavar="REVISION", help="only functions changed since then")
    run.add_argument("--again", action="store_true", help="also those that were noticed before")
    run.add_argument("--limit", type=int, metavar="N", help="at most so many, spread evenly")
    run.add_argument("--sample", type=int, metavar="N", help="of each room at most so many")
    run.add_argument("--seed", type=int, default=1, metavar="S", help="which ones a sample takes")
    commands.add_parser("scores", help="print what is known by now")
    commands.add_parser("list", help=f"write {results.SURVIVORS.name}")
    args = parser.parse_args()
    if args.command == "list":
        print(f"{results.write_list()} survivors without a reason")
        return 0
    if args.command == "run":
        wanted = set(args.rooms or results.rooms())
        if unknown := wanted - set(results.rooms()):
            parser.error(f"no such room: {', '.join(sorted(unknown))}")
        sample = (args.sample, args.seed) if args.sample else None
        _try(wanted, args.since, again=args.again, limit=args.limit, sample=sample)
        if args.since:
            return _tell(changed_functions(args.since))
    return _print_scores()


def _try(
    wanted: set[str],
    since: str | None,
    *,
    again: bool,
    limit: int | None,
    sample: tuple[int, int] | None,
) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    operators.install()
    mutmut.config().only_mutate = [
        str(each) for paths in results.rooms().values() for each in paths
    ]
    _prepare()
    functions = changed_functions(since) if since else None
    chosen = [
        each
        for each in results.mutants()
        if each.room in wanted
        and (again or since or not each.noticed)
        and (functions is None or (each.path, each.function) in functions)
    ]
    names = [each.name for each in (sampled(chosen, *sample) if sample else chosen)]
    if limit and len(names) > limit:
        names = names[:: -(-len(names) // limit)]
    print(f"{len(names)} mutants to try")
    if names:
        began = time.monotonic()
        _run_all(names)
        print(f"{(time.monotonic() - began) / len(names):.2f} s for each, all told")


def sampled(
    mutants: Sequence[results.Mutant], of_each_room: int, seed: int
) -> list[results.Mutant]:
    """Return that many of each room by chance; the same seed gives the same ones."""
    chance = random.Random(seed)
    by_room: dict[str, list[results.Mutant]] = {}
    for each in mutants:
        by_room.setdefault(each.room, []).append(each)
    return [
        each
        for some in by_room.values()
        for each in chance.sample(some, min(of_each_room, len(some)))
    ]


def _run_all(names: list[str]) -> None:
    """Have mutmut try these; a test that fails without any change is left out, and named."""
    log = WORK / "run.log"
    for _ in range(TESTS_LEFT_OUT):
        try:
            with _printing_to(log):
                mutmut._run(names, 1)
            return
        except SystemExit:
            failed = re.findall(r"^FAILED (\S+)", log.read_text("utf-8"), re.MULTILINE)
            if not failed:
                sys.exit(f"the tests cannot be run; see {log}")
            print(f"fails without any change, and is left out: {failed[0]}")
            options = os.environ.get("PYTEST_ADDOPTS", "")
            os.environ["PYTEST_ADDOPTS"] = f"{options} --deselect={failed[0]}"
    sys.exit("too many tests fail without any change")


@contextlib.contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Keep what is printed, also by child processes, out of the terminal."""
    sys.stdout.flush()
    terminal = os.dup(1)
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(terminal, 1)
            os.close(terminal)


def _prepare() -> None:
    """Have `mutants/` hold the source and the tests of now, and no others."""
    WORK.mkdir(exist_ok=True)
    shutil.rmtree(WORK / "tests", ignore_errors=True)
    for package in mutmut.config().source_paths:
        for copy in (WORK / package).rglob("*"):
            source = copy.relative_to(WORK)
            stale = not source.exists() and copy.suffix not in (".meta", ".spans")
            if copy.is_file() and "__pycache__" not in copy.parts:
                text = source.exists() and source.suffix != ".py"
                if stale or text:
                    copy.unlink()
    mutmut.set_mutant_under_test("mutant_generation")
    mutmut.copy_src_dir()
    with _printing_to(WORK / "prepared.log"):
        mutmut.copy_also_copy_files()
        mutmut.create_mutants(1)


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


def _tell(functions: set[tuple[Path, str]]) -> int:
    """Print the survivors in these functions that the list does not explain."""
    known = results.reasons()
    missed = [
        (each, change)
        for each in results.mutants()
        if (each.path, each.function) in functions
        and not each.noticed
        and each.status != "not checked"
        and not known.get((f"{each.path}: {each.function}", change := each.change()))
    ]
    for each, change in missed:
        print(f"{each.status}: {each.path}: {each.function}: {change}")
    print(f"{len(missed)} mutants that nobody notices and nobody explains")
    return 1 if missed else 0


def _print_scores() -> int:
    low = False
    for room, score in results.scores().items():
        if score.tried:
            low |= score.percent < GOAL
            print(
                f"{room:<12} {score.percent:5.1f} %   {score.noticed} of {score.tried} noticed, "
                f"{score.explained} others explained, {score.untried} not tried"
            )
        else:
            print(f"{room:<12}     -     {score.untried} not tried")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
