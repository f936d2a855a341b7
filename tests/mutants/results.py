"""Keep the outcome of each mutant, and list those that survive."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.mutants.changes import Mutant
from tests.mutants.trying import WORK, Result

HERE = Path(__file__).parent
SURVIVORS = HERE / "survivors.md"
KEPT = WORK / "results.jsonl"
NOTICED = {"killed", "timeout"}


@cache
def plan() -> dict[str, dict[str, list[str]]]:
    with (HERE / "rooms.toml").open("rb") as file:
        return tomllib.load(file)


def rooms() -> dict[str, list[Path]]:
    """Return the files of each room."""
    return {
        room: [path for pattern in patterns for path in sorted(Path().glob(pattern))]
        for room, patterns in plan()["rooms"].items()
    }


def tests() -> tuple[str, ...]:
    """Return the files of the tests that are run."""
    found = {
        path
        for pattern in plan()["tests"]["run"]
        for path in Path().glob(pattern)
        if not any(path.match(each) for each in plan()["tests"]["not"])
    }
    return tuple(str(path) for path in sorted(found))


@cache
def _kept() -> dict[str, tuple[str, str]]:
    if not KEPT.exists():
        return {}
    lines = map(json.loads, KEPT.read_text("utf-8").splitlines())
    return {key: (status, by) for key, status, by in lines}


@contextlib.contextmanager
def book() -> Iterator[Callable[[Result], None]]:
    """Store results as they come in."""
    with KEPT.open("a", encoding="utf-8") as file:

        def told(result: Result) -> None:
            mutant, status, by = result
            _kept()[mutant.key] = status, by
            file.write(json.dumps([mutant.key, status, by]) + "\n")
            file.flush()
            if status not in NOTICED:
                print(f"survived: {mutant.name}:{mutant.line}: {mutant.change()}", flush=True)

        yield told


def status(mutant: Mutant) -> str:
    """Return the mutant's outcome, or "not tried"."""
    return _kept().get(mutant.key, ("not tried", ""))[0]


def noticed(mutant: Mutant) -> bool:
    return status(mutant) in NOTICED


def reasons() -> dict[tuple[str, str], str]:
    """Return from the list the reason why each survivor may survive, by function and change."""
    found: dict[tuple[str, str], str] = {}
    if SURVIVORS.exists():
        for line in SURVIVORS.read_text("utf-8").splitlines():
            cells = line.replace("\\|", "\0").split("|")
            if len(cells) == 5 and cells[1].strip() not in ("function", "---"):
                function, change, reason = (
                    each.strip().replace("\0", "\\|") for each in cells[1:4]
                )
                found[function, change] = reason
    return found


HEAD = """# Mutants that survive

`make mutants` makes one small change after the other to the core and runs the tests that reach
it. Below stand the changes that no test notices, each with the reason why it may stay: nobody
who uses linkpool could tell. `python -m tests.mutants list` writes the table anew and keeps the
reasons; a row without one is a test that is missing.
"""


def write_list(mutants: Sequence[Mutant]) -> int:
    """Write the list of survivors, keeping reasons. Return the number without a reason."""
    known, bare = reasons(), 0
    text = SURVIVORS.read_text("utf-8") if SURVIVORS.exists() else HEAD
    parts = [text.partition("\n## ")[0].rstrip() + "\n"]
    for room in rooms():
        rows = []
        for each in mutants:
            if each.room == room and status(each) == "survived":
                reason = known.get((each.name, each.change()), "")
                bare += not reason
                rows.append(f"| {each.name} | {each.change()} | {reason} |")
        if rows:
            head = f"\n## {room}\n\n| function | change | reason |\n|---|---|---|\n"
            parts.append(head + "\n".join(dict.fromkeys(rows)) + "\n")
    SURVIVORS.write_text("".join(parts), "utf-8")
    return bare


@dataclass
class Score:
    """The number of a room's mutants that were noticed."""

    noticed: int = 0
    explained: int = 0  # not noticed, for a reason that the list gives
    missed: int = 0
    untried: int = 0

    @property
    def tried(self) -> int:
        return self.noticed + self.explained + self.missed

    @property
    def percent(self) -> float:
        unequal = self.noticed + self.missed
        return 100 * self.noticed / unequal if unequal else 0.0


def scores(mutants: Sequence[Mutant]) -> dict[str, Score]:
    """Return the score of each room."""
    known = reasons()
    counted = {room: Score() for room in rooms()}
    for each in mutants:
        score = counted[each.room]
        if status(each) == "not tried":
            score.untried += 1
        elif noticed(each):
            score.noticed += 1
        elif known and known.get((each.name, each.change())):
            score.explained += 1
        else:
            score.missed += 1
    return counted
