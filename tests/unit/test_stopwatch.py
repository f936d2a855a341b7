"""Test the stopwatch that leaves out what a busy machine costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.acceptance.stopwatch import Stopwatch


def spinning(processor: int) -> subprocess.Popen[bytes]:
    """Return a process that keeps one processor busy."""
    code = f"import os\nos.sched_setaffinity(0, {{{processor}}})\nwhile True: pass"
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux counts waits")
def test_time_without_a_processor_does_not_count_and_sleep_does() -> None:
    """Of work that shares one processor, the stopwatch shows the part that ran."""
    allowed = os.sched_getaffinity(0)
    processor = min(allowed)
    others = [spinning(processor) for _ in range(3)]
    try:
        os.sched_setaffinity(0, {processor})
        watch, began, worked = Stopwatch(list), time.monotonic(), time.thread_time()
        while time.thread_time() - worked < 0.1:
            pass
        shown, took = watch.seconds, time.monotonic() - began
    finally:
        os.sched_setaffinity(0, allowed)
        for other in others:
            other.kill()
            other.wait()
    assert shown == pytest.approx(0.1, abs=0.05)
    assert took > 2 * shown
    watch = Stopwatch(list)
    time.sleep(0.2)
    assert watch.seconds >= 0.15


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux counts waits")
def test_what_has_ended_had_waited_all_the_same() -> None:
    """The wait of a process that was read before its end is counted."""
    allowed = os.sched_getaffinity(0)
    processor = min(allowed)
    others = [spinning(processor) for _ in range(3)]
    looked = spinning(processor)
    try:
        watch = Stopwatch(lambda: [looked.pid])
        began = time.monotonic()
        while time.monotonic() - began < 0.4:
            time.sleep(0.05)
            watch.look()
    finally:
        for other in (looked, *others):
            other.kill()
            other.wait()
    assert watch.seconds < 0.8 * (time.monotonic() - began)
