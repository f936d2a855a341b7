"""Test which requests are logged: all that prove something, and some of the others."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from pool.api.http import access_log
from pool.api.http.access_log import STRANGERS_LINES, STRANGERS_LINES_PER_SECOND, Access, Lines


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    lines = {level: Lines(clock) for level in access_log._lines}
    monkeypatch.setattr(access_log, "_lines", lines)
    return clock


def served(status: int, *, stranger: bool) -> list[Any]:
    with capture_logs() as lines, Access({"method": "GET"}, b"id") as access:
        access.stranger = stranger
        access.note({"type": "http.response.start", "status": status})
    return lines


def test_strangers_cannot_fill_the_log(clock: Clock) -> None:
    """The next line that is written says how many were not."""
    written = [served(404, stranger=True) for _ in range(10_000)]
    assert sum(map(len, written)) == STRANGERS_LINES
    clock.now += 1.001 / STRANGERS_LINES_PER_SECOND
    (line,) = served(404, stranger=True)
    assert line["unlogged"] == 10_000 - STRANGERS_LINES
    clock.now += 1_000
    (line,) = served(404, stranger=True)
    assert "unlogged" not in line


def test_requests_that_prove_something_are_always_logged(clock: Clock) -> None:
    """They are logged while strangers flood, and so are their failures, which have other causes,
    too.
    """
    for _ in range(1_000):
        served(404, stranger=True)
    assert all(served(200, stranger=False) for _ in range(1_000))
    assert served(503, stranger=True)
    assert sum(len(served(503, stranger=True)) for _ in range(1_000)) <= STRANGERS_LINES
