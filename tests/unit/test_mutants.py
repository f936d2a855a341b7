"""Test the mutants: which changes are made to the code, and where."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

libcst = pytest.importorskip("libcst")

from mutmut.mutation import file_mutation, mutators  # noqa: E402

from tests.mutants import operators, results  # noqa: E402

CODE = '''
async def step(lock, slugs, log):
    """Take a step."""
    if await lock.extend():
        return None
    await store.put(slugs, at=1, reason="a sentence for people")
    log("name")
    return max(slugs, key=len)
'''


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the bodies that the changes make of CODE."""
    monkeypatch.setattr(file_mutation, "mutation_operators", operators.ours())
    _, mutations, *_ = file_mutation.create_mutations("step.py", CODE)
    module = libcst.parse_module(CODE)
    return [
        f"{module.code_for_node(each.original_node)} → {module.code_for_node(each.mutated_node)}"
        for each in mutations
    ]


def test_steps_are_left_out_and_conditions_turned_round(changed: list[str]) -> None:
    """That is how code comes to forget something."""
    assert 'log("name") → pass' in changed
    assert any(each.startswith("await store.put(") and each.endswith("→ pass") for each in changed)
    assert any("if not (await lock.extend()):" in each for each in changed)


def test_arguments_are_left_out_and_made_none(changed: list[str]) -> None:
    """Each named one by itself."""
    puts = [each.split(" → ")[1] for each in changed if each.startswith("store.put(")]
    assert 'store.put(slugs, reason="a sentence for people")' in puts
    assert "store.put(slugs, at=1, )" in puts
    assert 'store.put(None, at=1, reason="a sentence for people")' in puts


def test_what_is_said_to_people_is_not_changed(changed: list[str]) -> None:
    """Names are, once."""
    assert not any("XXa sentence" in each for each in changed)
    assert sum('"XXnameXX"' in each for each in changed) == 1


def test_the_operators_are_mutmuts_and_ours() -> None:
    """They may be put in place any number of times."""
    assert len(operators.ours()) == len(operators.THEIRS) + 2
    assert {kind for kind, _ in operators.THEIRS} <= {kind for kind, _ in operators.ours()}
    assert len(mutators.mutation_operators) in (len(operators.THEIRS), len(operators.ours()))


def test_every_room_has_all_its_files() -> None:
    """A file that moves takes its place along."""
    root = Path(__file__).parents[2]
    with (results.HERE / "rooms.toml").open("rb") as file:
        rooms = tomllib.load(file)["rooms"]
    gone = [
        pattern for patterns in rooms.values() for pattern in patterns if not [*root.glob(pattern)]
    ]
    assert gone == []


def test_make_alone_lists_the_commands() -> None:
    """Each with what it does."""
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
    """By function and change, also where a change has a bar in it."""
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


def test_a_sample_takes_some_of_each_room_by_its_seed() -> None:
    """Another seed takes others."""
    from tests.mutants.__main__ import sampled

    made = [
        results.Mutant(f"{room}-{n}", Path("a.py"), room, "not checked")
        for room in ("supply", "ledger")
        for n in range(100)
    ]
    some = sampled(made, 10, 1)
    assert [sum(each.room == room for each in some) for room in ("supply", "ledger")] == [10, 10]
    assert len(set(some)) == 20
    assert some == sampled(made, 10, 1) != sampled(made, 10, 2)
    assert len(sampled(made[:105], 10, 1)) == 15


def test_a_score_counts_what_was_tried() -> None:
    """A survivor with a reason counts as not noticed."""
    score = results.Score(noticed=9, explained=1, missed=0, untried=5)
    assert (score.tried, score.percent) == (10, 90.0)
    assert results.Score(untried=5).percent == 0.0
