"""Test the mutants: which changes are made to the code, and how they are tried."""

from __future__ import annotations

import gc
import subprocess
import sys
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libcst")

from tests.mutants import changes, jobs, operators, reach, results, swapping, trying

CODE = '''
MOST = 8
NAMES = {"one": "two"}


class Taker:
    @property
    def name(self):
        return self.first

    async def step(self, lock, slugs, most=3):
        """Take a step."""
        if await lock.extend():
            return None
        log.warning("left alone", most=4)
        if not slugs:
            raise ValueError(slugs)
        await store.put(slugs, at=1, reason="a sentence for people")
        log("name")
        return pick(slugs, [each for each in lock if each.held])
'''


@pytest.fixture(scope="module")
def made() -> list[changes.Mutant]:
    return changes.of_code("supply", Path("pool/step.py"), CODE)


@pytest.fixture(scope="module")
def changed(made: list[changes.Mutant]) -> list[str]:
    """Return the changes that are made of CODE."""
    return [
        " → ".join(each.module.code_for_node(node).strip() for node in (each.old, each.new))
        for each in made
    ]


@pytest.mark.parametrize(
    "change",
    [
        'log("name") → pass',
        "raise ValueError(slugs) → pass",
        "return self.first → return None",
        "if each.held → if True",
        "8 → 9",
        "3 → 4",
        'store.put(slugs, at=1, reason="a sentence for people") → '
        'store.put(slugs, reason="a sentence for people")',
        'store.put(slugs, at=1, reason="a sentence for people") → store.put(slugs, at=1, )',
        'store.put(slugs, at=1, reason="a sentence for people") → '
        'store.put(None, at=1, reason="a sentence for people")',
        "pick(slugs, [each for each in lock if each.held]) → "
        "pick([each for each in lock if each.held], slugs)",
    ],
)
def test_each_kind_of_change_is_made(changed: list[str], change: str) -> None:
    """Each kind is a mistake that people make when they edit code."""
    assert change in changed


def test_conditions_are_turned_round(changed: list[str]) -> None:
    """Conditions without an operator of their own are included."""
    assert any("if not (await lock.extend()):" in each for each in changed)


def test_what_is_said_to_people_is_not_changed(changed: list[str]) -> None:
    """Names are, once; tables of names outside functions, and logs, are left alone."""
    assert not any("XXa sentence" in each for each in changed)
    assert sum('"XXnameXX"' in each for each in changed) == 1
    assert not any("left alone" in each or '"XXtwoXX"' in each for each in changed)


def test_a_mutant_names_its_function_and_keeps_its_name(made: list[changes.Mutant]) -> None:
    """The rest of the file may change."""
    names = {each.name for each in made}
    assert names == {
        "pool/step.py: (module)", "pool/step.py: Taker.name", "pool/step.py: Taker.step"
    }  # fmt: skip
    again = changes.of_code("supply", Path("pool/step.py"), "import os\n" + CODE)
    assert [each.key for each in again] == [each.key for each in made]
    other = changes.of_code("supply", Path("pool/step.py"), CODE.replace('"name"', '"other"'))
    step = {each.key for each in made if each.function == "Taker.step"}
    assert step.isdisjoint(each.key for each in other)


def test_a_change_can_be_read(made: list[changes.Mutant]) -> None:
    """It shows the lines that differ."""
    assert "`raise ValueError(slugs)` → `pass`" in [each.change() for each in made]


BRANCHES = """
def choose(n):
    if n > 1:
        return "many"
    elif n:
        return "one"
    return "none"
"""


def test_blocks_are_marked_and_found_by_line() -> None:
    """A condition belongs to the block around it."""
    found = reach.blocks(Path("a.py"), BRANCHES)
    assert [reach.block_of(line, found) for line in (2, 3, 4, 5, 6, 7)] == [
        None, "a.py:3", "a.py:4", "a.py:5", "a.py:6", "a.py:3"
    ]  # fmt: skip
    names: dict[str, object] = {reach.MARK: (hit := set[str]()).add}
    exec(compile(reach.marked(Path("a.py"), BRANCHES), "a.py", "exec"), names)
    choose = names["choose"]
    assert isinstance(choose, types.FunctionType)
    assert choose(1) == "one"
    assert hit == {"a.py:3", "a.py:5", "a.py:6"}


CLOSING = """
def outer(n, m):
    def inner():
        return n + 1
    return inner
"""


def _living(code: types.CodeType) -> list[types.FunctionType]:
    names: dict[str, object] = {}
    exec(code, names)
    outer = names["outer"]
    assert isinstance(outer, types.FunctionType)
    return [outer, outer(1, 5)]


def test_a_change_is_put_in_place_of_what_runs() -> None:
    """Functions that were made inside another one before are changed, too."""
    path = Path("a.py")
    code = compile(CLOSING, str(path.absolute()), "exec")
    before, living = swapping.codes_in(code), _living(code)
    swapping.swap(path, CLOSING.replace("+ 1", "- 1"), "outer", before, living)
    assert (living[1](), living[0](3, 5)()) == (0, 2)


@pytest.mark.parametrize("change", ["m + 1", "n + m", "(lambda: n)()"])
def test_what_closes_over_something_else_is_not_put_in_place(change: str) -> None:
    """The living function would read a stranger's variable."""
    path = Path("a.py")
    code = compile(CLOSING, str(path.absolute()), "exec")
    before, living = swapping.codes_in(code), _living(code)
    if change == "(lambda: n)()":
        before = swapping.codes_in(compile("", "a.py", "exec"))
    with pytest.raises(swapping.CannotSwap):
        swapping.swap(path, CLOSING.replace("n + 1", change), "outer", before, living)


def test_functions_are_found_where_the_collector_was_told_to_look_away() -> None:
    """Without that, every change would have to import everything again."""
    path = str(Path("frozen.py").absolute())
    names: dict[str, object] = {}
    exec(compile("def kept(): return 1", path, "exec"), names)
    gc.freeze()
    assert swapping.functions_of({path}) == {path: [names["kept"]]}


def test_tests_that_are_quick_and_about_little_else_come_first() -> None:
    """Those that noticed a change before come earlier, and the time limits their number."""
    known = trying.Reach(
        {
            "all": frozenset({"a.py:1", "b.py:1", "b.py:2"}),
            "half": frozenset({"a.py:1", "b.py:1"}),
            "own": frozenset({"a.py:1", "a.py:7"}),
            "other": frozenset({"a.py:7"}),
        },
        {"all": 0.5, "half": 0.5, "own": 0.5, "other": 0.1},
    )
    asked = Path("a.py"), {"a.py:1"}
    assert known.tests_of(*asked, 9.0, Counter()) == ["own", "half", "all"]
    assert known.tests_of(*asked, 9.0, Counter(all=1)) == ["all", "own", "half"]
    assert known.tests_of(*asked, 0.6, Counter()) == ["own", "half"]


@pytest.mark.parametrize(("scope", "credited"), [("module", {"a.py:2"}), ("function", set())])
def test_what_a_shared_fixture_reaches_is_known_of_all_who_use_it(
    monkeypatch: pytest.MonkeyPatch, scope: str, credited: set[str]
) -> None:
    """It counts for each of them, and not for the first alone, which it is put back into."""
    monkeypatch.setattr(reach, "reached", {"a.py:1"})
    session = trying._Session([], [], trying.Tests((), 1.0, 1), Path())
    made: Any = types.SimpleNamespace(scope=scope, argname="stage")
    steps = session.pytest_fixture_setup(made)
    next(steps)
    reach.reached.add("a.py:2")
    with pytest.raises(StopIteration) as ended:
        steps.send("its value")  # type: ignore[attr-defined]
    assert ended.value.value == "its value"
    assert session._by_fixture["stage"] == credited
    assert reach.reached == {"a.py:1", "a.py:2"}


def test_a_job_says_what_became_of_it() -> None:
    """Each in a process of its own; one that computes for ever is ended."""

    def noticed() -> int:
        jobs.say("by this one")
        return jobs.NOTICED

    def broken() -> int:
        sys.exit("broken")

    made = [jobs.Job("a", noticed, 1), jobs.Job("b", lambda: jobs.SURVIVED, 1)]
    ended = {subject: (code, said) for subject, code, said in jobs.run(made, 2)}
    assert ended == {"a": (jobs.NOTICED, "by this one"), "b": (jobs.SURVIVED, "")}
    assert [code for _, code, _ in jobs.run([jobs.Job("c", broken, 1)], 1)] == [jobs.CANNOT]


def test_the_operators_are_mutmuts_and_ours() -> None:
    """None of theirs is lost."""
    assert len(operators.used()) == len(operators.THEIRS) + len(operators.OURS)
    assert {kind for kind, _ in operators.THEIRS} <= {kind for kind, _ in operators.used()}


def test_every_room_has_all_its_files() -> None:
    """A file that moves takes its place along."""
    root = Path(__file__).parents[2]
    plan = results.plan()
    patterns = [each for some in plan["rooms"].values() for each in some]
    patterns += [f"tests/unit/{each}" for each in plan["tests"]["not"]]
    assert [each for each in patterns if not [*root.glob(each)]] == []


def test_make_alone_lists_the_commands() -> None:
    """Each command stands with its purpose."""
    root = Path(__file__).parents[2]
    if not (root / "Makefile").exists():
        pytest.skip("the Makefile is not among the files here")
    said = subprocess.run(["make", "-C", root], capture_output=True, text=True, check=False)
    if "not found" in said.stderr:
        pytest.skip("make is not installed")
    assert {"help", "mutants", "mutants-changed"} <= {
        line.split()[0] for line in said.stdout.splitlines() if line.strip()
    }


def test_reasons_are_read_from_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Function and change identify them, also where a change contains a bar."""
    listed = tmp_path / "survivors.md"
    listed.write_text(
        results.HEAD + "\n## supply\n\n| function | change | reason |\n|---|---|---|\n"
        "| a.py: f | `x` → `y` | the same |\n| a.py: g | `x \\| y` → `x` |  |\n",
        "utf-8",
    )
    monkeypatch.setattr(results, "SURVIVORS", listed)
    assert results.reasons() == {
        ("a.py: f", "`x` → `y`"): "the same",
        ("a.py: g", "`x \\| y` → `x`"): "",
    }


def test_a_sample_takes_some_of_each_room_by_its_seed(made: list[changes.Mutant]) -> None:
    """Another seed takes others; a room's sample is the same with other rooms and without."""
    from tests.mutants.__main__ import sampled

    both = [replace(each, room=room) for room in ("supply", "ledger") for each in made]
    some = sampled(both, 5, 1)
    assert [sum(each.room == room for each in some) for room in ("supply", "ledger")] == [5, 5]
    assert len({id(each) for each in some}) == 10
    assert some == sampled(both, 5, 1) != sampled(both, 5, 2)
    assert sampled([each for each in both if each.room == "ledger"], 5, 1) == some[5:]


def test_a_score_counts_what_was_tried() -> None:
    """A survivor that the list explains is equal, and counts for nothing."""
    score = results.Score(noticed=9, explained=2, missed=1, untried=5)
    assert (score.tried, score.percent) == (12, 90.0)
    assert results.Score(untried=5).percent == 0.0
