"""Test whose counts each part shows, and that their files stay few."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from pool.telemetry import shared_counts
from pool.telemetry.shared_counts import STALE_SECONDS, carry_over, counted, tidy, touch
from tests.unit.test_metrics import process


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of one process that counted 3 claims, to be copied."""
    directory = tmp_path_factory.mktemp("counts")
    process(directory)
    return directory


def part(metrics: Path, counts: Path, name: str, *, pid: int = 4_194_000) -> Path:
    """Make the directory of a part that runs, with the counts of one process that ended."""
    directory = metrics / name
    directory.mkdir(parents=True, exist_ok=True)
    for file in counts.glob("*.db"):
        shutil.copy(file, directory / f"{file.name.partition('_')[0]}_{pid}.db")
    touch(directory)
    return directory


def claims(own: Path) -> float:
    """Return the claims that a part shows."""
    return sum(
        sample.value
        for family in counted(own)
        for sample in family.samples
        if sample.name == "linkpool_claims_total"
    )


def age(directory: Path, seconds: float) -> None:
    """Make it look as if nobody had touched a part for so long."""
    then = time.time() - seconds
    os.utime(directory / "alive", (then, then))


def test_two_apis_on_one_directory_show_no_count_twice(tmp_path: Path, counts: Path) -> None:
    """Each shows its own; the first shows those of the workers, until it has ended."""
    first, second = (part(tmp_path, counts, f"api-host-{port}") for port in (8000, 8001))
    part(tmp_path, counts, "worker-host")
    part(tmp_path, counts, "worker-other")
    assert (claims(first), claims(second)) == (9, 3)
    (first / "alive").unlink()
    assert claims(second) == 9


def test_an_api_that_was_killed_gives_its_turn_away(tmp_path: Path, counts: Path) -> None:
    first, second = (part(tmp_path, counts, f"api-host-{port}") for port in (8000, 8001))
    part(tmp_path, counts, "worker-host")
    age(first, 60)
    assert claims(second) == 6


def test_a_worker_with_a_port_shows_its_counts_itself(tmp_path: Path, counts: Path) -> None:
    """No other process does."""
    api = part(tmp_path, counts, "api-host-8000")
    worker = part(tmp_path, counts, "own-worker-host-9100")
    part(tmp_path, counts, "own-worker-host-9101")
    assert claims(api) == claims(worker) == 3


def test_directories_of_hosts_that_are_gone_are_removed(tmp_path: Path, counts: Path) -> None:
    """The counts of workers there are kept, however many hosts there were."""
    api = part(tmp_path, counts, "api-host-8000")
    for number in range(20):
        for kind in ("worker", "api", "own-worker"):
            age(part(tmp_path, counts, f"{kind}-pod{number}"), STALE_SECONDS + 60)
    before = claims(api)
    assert before == 3 + 20 * 3
    for _ in range(2):
        tidy(api)
        assert claims(api) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["api-host-8000", "worker-ended"]
    assert len(list((tmp_path / "worker-ended").iterdir())) == 2


def test_a_directory_that_is_in_use_is_left_alone(tmp_path: Path, counts: Path) -> None:
    """A new one of an earlier release, which touches no file, is left alone, too."""
    api = part(tmp_path, counts, "api-host-8000")
    other = part(tmp_path, counts, "api-other-8000")
    (part(tmp_path, counts, "worker-host") / "alive").unlink()
    tidy(api)
    assert len(list(tmp_path.iterdir())) == 3
    age(other, STALE_SECONDS - 60)
    tidy(api)
    assert other.exists()


def test_hundreds_of_killed_processes_leave_two_files(tmp_path: Path, counts: Path) -> None:
    """They are merged while the part runs, not only at its next start."""
    worker = part(tmp_path, counts, "worker-host")
    for pid in range(4_194_001, 4_194_201):
        part(tmp_path, counts, "worker-host", pid=pid)
    carry_over(worker)
    assert sorted(each.name for each in worker.glob("*.db")) == [
        "counter_carried.db", "histogram_carried.db",
    ]  # fmt: skip
    assert claims(worker) == 201 * 3


def test_a_lock_that_another_process_keeps_makes_nobody_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts are shown without it, and are folded the next time."""
    monkeypatch.setattr(shared_counts, "LOCKED_SECONDS", 0.05)
    directory = tmp_path / "metrics" / "api-here-8000"
    directory.mkdir(parents=True)
    kept = os.open(directory, os.O_RDONLY)
    fcntl.flock(kept, fcntl.LOCK_EX)
    try:
        assert list(shared_counts.counted(directory)) == []
        ended = directory / f"counter_{2**22 + 1}.db"
        ended.touch()
        shared_counts.carry_over(directory)
        assert ended.exists()
    finally:
        os.close(kept)


def test_a_child_that_was_forked_under_a_lock_does_not_keep_it(tmp_path: Path) -> None:
    """It has the open directory as its parent has, for as long as it lives."""
    with shared_counts._locked(tmp_path, fcntl.LOCK_EX) as alone:
        assert alone
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        with shared_counts._locked(tmp_path, fcntl.LOCK_EX) as alone:
            assert alone
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
