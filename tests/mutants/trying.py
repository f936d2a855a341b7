"""Try mutants: collect the tests once, learn what each reaches, and fork for each mutant.

A change within a function is put in the place of the function that runs. What shows only when a
file is imported (a default, a number outside functions, what runs on import) is tried in a process
that imports everything anew, which takes seconds instead of a fraction of one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import jobs, reach, swapping
from tests.mutants.changes import Mutant
from tests.mutants.shared import BY_SEVERAL, Shared, shared

WORK = Path("mutants")
LEARNED = WORK / "reach.json"
OPTIONS = [
    # No plugin but the one that is needed, and no second process.
    "-o", "addopts=--strict-markers --import-mode=importlib", "-p", "pytest_asyncio.plugin",
    "-p", "no:cacheprovider", "-q", "--no-header",
    # One stops the server that all share; the others wait for seconds.
    "-k", "not the_ledger_heals_when and not a_locked_file and not a_silent_server",
]  # fmt: skip


@dataclass(frozen=True)
class Tests:
    """The tests to run, and the time limit for one mutant."""

    files: tuple[str, ...]
    cpu_seconds: float  # those likeliest to notice come first; the others are left out
    at_once: int
    ends: float = math.inf  # when no more is begun, by time.monotonic()


@dataclass
class Reach:
    """The code that each test reaches, and its CPU time."""

    blocks: dict[str, frozenset[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    on_import: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    _shares: dict[tuple[str, str], float] = field(default_factory=dict)

    def tests_of(
        self, path: Path, blocks: set[str], seconds: float, liked: Counter[str]
    ) -> list[str]:
        """Return the tests that reach one of the file's blocks, the likeliest to notice first.

        Those are the ones that noticed before, then those that are quick and about little else.
        """
        found = [name for name, reached in self.blocks.items() if reached & blocks]
        cost = {name: self.seconds[name] / self._share(name, f"{path}:") for name in found}
        found.sort(key=lambda name: (-liked[name], cost[name]))
        left = []
        for name in found:
            seconds -= self.seconds[name] + 0.01
            left.append(name)
            if seconds <= 0:
                break
        return left

    def _share(self, name: str, prefix: str) -> float:
        """Return which part of what a test reaches is of one file."""
        if (name, prefix) not in self._shares:
            reached = self.blocks[name]
            here = sum(block.startswith(prefix) for block in reached)
            self._shares[name, prefix] = here / len(reached)
        return self._shares[name, prefix]


Result = tuple[Mutant, str, str]  # the mutant, what became of it, and what noticed it


def try_all(
    mutants: Sequence[Mutant], paths: Sequence[Path], tests: Tests, told: Callable[[Result], None]
) -> None:
    """Try the mutants, and tell what becomes of each."""
    with shared() as given:
        _try_all(mutants, paths, tests, told, given)


def _try_all(
    mutants: Sequence[Mutant],
    paths: Sequence[Path],
    tests: Tests,
    told: Callable[[Result], None],
    given: Shared,
) -> None:
    slow = WORK / "slow.json"
    slow.unlink(missing_ok=True)
    by_key = {each.key: each for each in mutants}
    told_file = WORK / "told.jsonl"
    told_file.write_text("", "utf-8")

    def collected() -> int:
        session = _Session(mutants, paths, tests, told_file)
        reach.Loader({reach.module_name(each): each for each in paths}, session.compiled).install()
        return int(pytest.main([*OPTIONS, *tests.files], plugins=[session, given]))

    pid = os.fork()
    if not pid:
        code = 70
        try:
            code = collected()
        finally:
            os._exit(code)
    position = 0

    def relay() -> None:
        nonlocal position
        with told_file.open(encoding="utf-8") as file:
            file.seek(position)
            while (line := file.readline()).endswith("\n"):
                key, status, by = json.loads(line)
                told((by_key[key], status, by))
                position = file.tell()

    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        relay()
        time.sleep(0.1)
    relay()
    if not slow.exists():
        raise SystemExit(f"the tests cannot be run: {ended[1]}")
    anew = json.loads(slow.read_text("utf-8"))
    begun = (
        _anew(by_key[key], names, seconds, given)
        for key, names, seconds in anew
        if time.monotonic() < tests.ends
    )
    for mutant, code, said in jobs.run(begun, tests.at_once):
        told((mutant, _status(code), said))


def _status(code: int) -> str:
    return {jobs.SURVIVED: "survived", jobs.TIMEOUT: "timeout"}.get(code, "killed")


def _anew(mutant: Mutant, names: list[str], seconds: float, given: Shared) -> jobs.Job[Mutant]:
    def act() -> int:
        if not names:
            return jobs.SURVIVED
        name, source = reach.module_name(mutant.path), mutant.source
        reach.Loader(
            {name: mutant.path},
            lambda path: compile(source, str(path.absolute()), "exec", dont_inherit=True),
        ).install()
        options = [*OPTIONS, "-x", f"--basetemp={_folder()}"]
        code = pytest.main([*options, *names], plugins=[given])
        shutil.rmtree(_folder(), ignore_errors=True)
        jobs.say("the tests" if code == 1 else "the import")
        return jobs.SURVIVED if code in (0, 5) else jobs.NOTICED

    return jobs.Job(mutant, act, seconds + 5)


def _folder() -> Path:
    return Path(tempfile.gettempdir(), f"mutants-{os.getpid()}").absolute()


class _Session:
    """Take the place of pytest's loop over the tests."""

    def __init__(
        self, mutants: Sequence[Mutant], paths: Sequence[Path], tests: Tests, told: Path
    ) -> None:
        self._mutants, self._paths, self._tests = mutants, paths, tests
        self._told = told
        self._codes: dict[Path, swapping.Codes] = {}
        self._items: dict[str, pytest.Item] = {}
        self._by_fixture: dict[str, set[str]] = defaultdict(set)

    def compiled(self, path: Path):  # type: ignore[no-untyped-def]
        code = reach.compiled_with_marks(path)
        self._codes[path] = swapping.codes_in(code)
        return code

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
        """Note what a fixture reaches that several tests share: all of them may notice."""
        if fixturedef.scope not in BY_SEVERAL:
            return (yield)
        before = set(reach.reached)
        reach.reached.clear()
        try:
            return (yield)
        finally:
            self._by_fixture[fixturedef.argname] |= reach.reached
            reach.reached.update(before)

    @pytest.hookimpl
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return False
        on_import = set(reach.reached)
        for path in {each.path for each in self._mutants}:
            importlib.import_module(reach.module_name(path))  # what tests import late, or not
        self._items = {each.nodeid: each for each in session.items}
        known = self._learn(session)
        known.on_import = on_import
        files = {str(each.absolute()) for each in self._paths}
        living = swapping.functions_of(files)
        liked: dict[Path, Counter[str]] = defaultdict(Counter)
        slow: list[tuple[str, list[str], float]] = []
        with self._told.open("a", encoding="utf-8") as told:
            for mutant, code, said in jobs.run(
                self._jobs(session, known, living, liked, slow), self._tests.at_once
            ):
                if code == jobs.CANNOT:
                    slow.append((mutant.key, *self._for_import(mutant, known)))
                    continue
                if code == jobs.NOTICED:
                    liked[mutant.path][said] += 1
                told.write(json.dumps([mutant.key, _status(code), said]) + "\n")
                told.flush()
        (WORK / "slow.json").write_text(json.dumps(slow), "utf-8")
        return True

    def _jobs(
        self,
        session: pytest.Session,
        known: Reach,
        living: dict[str, list[swapping.FunctionType]],
        liked: dict[Path, Counter[str]],
        slow: list[tuple[str, list[str], float]],
    ) -> Iterator[jobs.Job[Mutant]]:
        blocks: dict[Path, list[tuple[int, int, str]]] = {}
        for mutant in self._mutants:
            if mutant.path not in blocks:
                blocks[mutant.path] = reach.blocks(mutant.path, mutant.module.code)
            block = reach.block_of(mutant.line, blocks[mutant.path])
            if time.monotonic() > self._tests.ends:
                return
            if block is None or block in known.on_import or not mutant.function:
                slow.append((mutant.key, *self._for_import(mutant, known)))
                continue
            most = self._tests.cpu_seconds
            names = known.tests_of(mutant.path, {block}, most, liked[mutant.path])
            seconds = sum(known.seconds[name] for name in names)

            def act(mutant: Mutant = mutant, names: list[str] = names) -> int:
                try:
                    swapping.swap(
                        mutant.path, mutant.source, mutant.function,
                        self._codes[mutant.path], living[str(mutant.path.absolute())],
                    )  # fmt: skip
                except swapping.CannotSwap:
                    return jobs.CANNOT
                except SyntaxError as error:
                    jobs.say(str(error))
                    return jobs.NOTICED
                noticed = self._run(session, names)
                shutil.rmtree(_folder(), ignore_errors=True)
                jobs.say(noticed or "")
                return jobs.NOTICED if noticed else jobs.SURVIVED

            yield jobs.Job(mutant, act, seconds)

    def _for_import(self, mutant: Mutant, known: Reach) -> tuple[list[str], float]:
        """Return the tests that reach anything in the file."""
        blocks = {block for _, _, block in reach.blocks(mutant.path, mutant.module.code)}
        names = known.tests_of(mutant.path, blocks, self._tests.cpu_seconds, Counter())
        return names, sum(known.seconds[name] for name in names)

    def _run(self, session: pytest.Session, names: list[str]) -> str | None:
        """Run these tests until one fails; return its name."""
        session.config._tmp_path_factory._given_basetemp = _folder()  # type: ignore[attr-defined]
        items = [self._items[name] for name in names if name in self._items]
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return item.nodeid
        return None

    def _learn(self, session: pytest.Session) -> Reach:
        """Return what each test reaches; ask only those of files that are new."""
        before = json.loads(LEARNED.read_text("utf-8")) if LEARNED.exists() else {}
        files = before.get("files", {})
        sources = {str(each): _hash(each) for each in self._paths}
        changed = {
            path for path, made in sources.items() if before.get("sources", {}).get(path) != made
        }
        by_file: dict[str, list[str]] = defaultdict(list)
        for name in self._items:
            by_file[name.partition("::")[0]].append(name)
        hashes = {file: _hash(Path(file)) for file in by_file}
        unknown = [
            file
            for file in by_file
            if (learned := files.get(file, {})).get("hash") != hashes[file]
            or changed
            & {
                block.partition(":")[0]
                for _, _, reached in learned["tests"].values()
                for block in reached
            }
        ]
        asked = (
            jobs.Job(file, lambda file=file: self._ask(session, file, by_file[file]), 600.0)  # type: ignore[misc]
            for file in unknown
            if time.monotonic() < self._tests.ends
        )
        for file, code, said in jobs.run(asked, self._tests.at_once):
            learned = WORK / "learned" / (_hash(Path(file)) + ".json")
            if code == jobs.SURVIVED and learned.exists():
                files[file] = {
                    "hash": hashes[file],
                    "tests": json.loads(learned.read_text("utf-8")),
                }
            else:
                print(f"left out, since its tests end with {code}: {file} {said}")
        LEARNED.write_text(json.dumps({"sources": sources, "files": files}), "utf-8")
        shutil.rmtree(WORK / "learned", ignore_errors=True)
        known = Reach()
        for file in by_file:
            for name, (passed, seconds, blocks) in files.get(file, {}).get("tests", {}).items():
                if not passed:
                    known.failing.add(name)
                    print(f"fails without any change, and is left out: {name}")
                elif blocks:
                    known.blocks[name] = frozenset(blocks)
                    known.seconds[name] = seconds
        return known

    def _ask(self, session: pytest.Session, file: str, names: list[str]) -> int:
        """Run the tests of a file, and write down what each reaches."""
        found: dict[str, tuple[bool, float, list[str]]] = {}
        session.config._tmp_path_factory._given_basetemp = _folder()  # type: ignore[attr-defined]
        items = [self._items[name] for name in names]
        for item, following in zip(items, [*items[1:], None], strict=True):
            reach.reached.clear()
            failed, began = session.testsfailed, time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds = round(time.process_time() - began, 4)
            found[item.nodeid] = (session.testsfailed == failed, seconds, sorted(reach.reached))
        for item in items:
            passed, seconds, reached = found[item.nodeid]
            by_fixture = (self._by_fixture[name] for name in item.fixturenames)  # type: ignore[attr-defined]
            found[item.nodeid] = passed, seconds, sorted({*reached}.union(*by_fixture))
        folder = WORK / "learned"
        folder.mkdir(exist_ok=True)
        (folder / (_hash(Path(file)) + ".json")).write_text(json.dumps(found), "utf-8")
        shutil.rmtree(_folder(), ignore_errors=True)
        return jobs.SURVIVED


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
