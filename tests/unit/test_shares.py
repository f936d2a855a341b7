"""Test that the tests are shared out as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xdist.remote import Producer

from tests.kept import Kept
from tests.shares import SHARES, ByShare, share_of

TESTS = Path(__file__).parents[1]


def test_each_share_names_what_there_is() -> None:
    """A file that is moved takes its place among the shares along, and stands in one of them."""
    names = [name for share in SHARES for name in share]
    assert len(names) == len(set(names))
    for name in names:
        assert (TESTS / name).is_dir() if name.endswith("/") else (TESTS / name).is_file(), name


def test_tests_on_one_product_are_one_share() -> None:
    """Tests of a share follow its number; those of any other file come last."""
    one = share_of("tests/acceptance/test_errors.py::test_a[x::y]")
    assert one == share_of("tests/acceptance/test_scopes.py::test_b")
    browser = share_of("tests/browser/test_tag.py::test_c")
    assert browser == share_of("tests/browser/test_tag_life.py::test_d")
    assert browser != share_of("tests/browser/test_views.py::test_e")
    other = share_of("tests/unit/test_desk.py::test_f")
    assert other == (len(SHARES), "tests/unit/test_desk.py")
    assert one < other


@dataclass(eq=False)
class Process:
    """A process that runs tests, as the scheduler sees it."""

    id: str
    given: list[str] = field(default_factory=list)
    shutting_down: bool = False

    @property
    def gateway(self) -> Process:
        return self

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.given += [TO_RUN[number] for number in numbers]

    def shutdown(self) -> None:
        self.shutting_down = True


TO_RUN = [f"tests/unit/test_{file}.py::test_{number}" for file in "abcd" for number in range(2)]


def by_share(*processes: Process) -> ByShare:
    """Return a scheduler that has handed out the first tests."""
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True), getvalue=lambda _: ["popen"] * len(processes)
    )
    scheduler = ByShare(config, Producer("shares", enabled=False))
    for process in processes:
        join(scheduler, process)
    scheduler.schedule()
    return scheduler


def join(scheduler: ByShare, process: Any) -> None:
    """Let a process join that has collected all tests."""
    scheduler.add_node(process)
    scheduler.add_node_collection(process, TO_RUN)


def run(scheduler: ByShare, process: Any, count: int = 100) -> None:
    """Let a process run some of the tests it was given, as far as it may.

    It keeps the last one back until it knows that nothing follows.
    """
    while process.given and count and (len(process.given) > 1 or process.shutting_down):
        scheduler.mark_test_complete(process, TO_RUN.index(process.given.pop(0)))
        count -= 1


def test_a_process_that_dies_names_its_test_and_no_other_is_lost() -> None:
    """Its replacement runs the remaining tests, even a single one, except the fatal one."""
    first, second = Process("first"), Process("second")
    scheduler: Any = by_share(first, second)
    run(scheduler, first, 1)
    died_of, lost = first.given[0], first.given[1:]
    assert scheduler.remove_node(first) == died_of
    run(scheduler, second)
    third, fourth = Process("third"), Process("fourth")
    scheduler.add_node(third)
    scheduler.add_node(fourth)  # has collected nothing yet when the other two are given tests
    scheduler.add_node_collection(third, TO_RUN)
    scheduler.schedule()
    assert died_of not in third.given
    assert lost
    run(scheduler, third)
    run(scheduler, second)
    assert scheduler.tests_finished
    assert not third.given
    assert not second.given


def test_a_process_that_dies_with_nothing_left_names_no_test() -> None:
    alone: Any = Process("alone")
    scheduler = by_share(alone)
    run(scheduler, alone)
    assert scheduler.tests_finished
    assert scheduler.remove_node(alone) is None


def test_what_is_kept_is_started_once_and_ends_with_the_share() -> None:
    """The share's tests get the same one; those of a later share on the process a new one."""
    said: list[str] = []

    @contextmanager
    def running(name: str) -> Iterator[object]:
        said.append(f"{name} starts")
        yield object()
        said.append(f"{name} ends")

    kept = Kept()
    first, second = (kept("a", lambda: running("a")) for _ in range(2))
    kept("b", lambda: running("b"))
    kept.end()
    third = kept("a", lambda: running("a"))
    assert first is second
    assert third is not first
    assert said == ["a starts", "b starts", "b ends", "a ends", "a starts"]
