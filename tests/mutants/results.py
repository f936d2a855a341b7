"""Read what became of each mutant, and list those that survive."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

HERE = Path(__file__).parent
SURVIVORS = HERE / "survivors.md"
NOTICED = {"killed", "timeout", "segfault", "caught by type check"}


@dataclass(frozen=True)
class Mutant:
    """One small change, and what the tests made of it."""

    name: str
    path: Path
    room: str
    status: str

    @property
    def noticed(self) -> bool:
        return self.status in NOTICED

    @property
    def function(self) -> str:
        """Return the function as a person names it."""
        mangled = self.name.rpartition("__mutmut_")[0].rpartition(".")[2]
        return mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")

    def change(self) -> str:
        """Return the lines that differ, on one line."""
        diff = get_diff_for_mutant(self.name, path=self.path).splitlines()
        old = [line[1:].strip() for line in diff if line.startswith("-") and line[:3] != "---"]
        new = [line[1:].strip() for line in diff if line.startswith("+") and line[:3] != "+++"]
        return f"`{' '.join(old)}` → `{' '.join(new)}`".replace("|", "\\|")


def rooms() -> dict[str, list[Path]]:
    """Return the files of each room."""
    with (HERE / "rooms.toml").open("rb") as file:
        named: dict[str, list[str]] = tomllib.load(file)["rooms"]
    return {
        room: [path for pattern in patterns for path in sorted(Path().glob(pattern))]
        for room, patterns in named.items()
    }


def mutants() -> Iterator[Mutant]:
    """Return every mutant that was generated."""
    for room, paths in rooms().items():
        for path in paths:
            if (Path("mutants") / f"{path}.meta").exists():
                data = SourceFileMutationData(path=path)
                data.load()
                for name, exit_code in data.exit_code_by_key.items():
                    yield Mutant(name, path, room, status_by_exit_code[exit_code])


def reasons() -> dict[tuple[str, str], str]:
    """Return why a survivor may survive, by function and change, from the list."""
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


def write_list() -> int:
    """Write the list of survivors, keeping reasons. Return the number without a reason."""
    known, bare = reasons(), 0
    parts = [HEAD]
    for room in rooms():
        rows = []
        for each in mutants():
            if each.room != room or each.noticed or each.status == "not checked":
                continue
            function = f"{each.path}: {each.function}"
            change = each.change()
            reason = known.get((function, change), "")
            bare += not reason
            rows.append(f"| {function} | {change} | {reason} |")
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
        return 100 * self.noticed / self.tried if self.tried else 0.0


def scores() -> dict[str, Score]:
    """Return the score of each room."""
    known = reasons()
    counted = {room: Score() for room in rooms()}
    for each in mutants():
        score = counted[each.room]
        if each.status == "not checked":
            score.untried += 1
        elif each.noticed:
            score.noticed += 1
        elif known and known.get((f"{each.path}: {each.function}", each.change())):
            score.explained += 1
        else:
            score.missed += 1
    return counted
