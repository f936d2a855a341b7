"""Test the picture of `linkpool status --watch`, for each reading and size of the terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from pool.cli.screen import View, bar, screen, sparkline
from pool.model.forecast import Forecast
from pool.model.meetings import Meeting
from pool.operations.snapshot import LedgerHealth, Snapshot, WorkspaceHealth
from pool.operations.status import MeetingStatus, PoolState
from pool.store.records import Block, Spark

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def status(sid: str, state: PoolState = "ok", fresh: int = 50, **more: object) -> MeetingStatus:
    """Return a pool with a target of 50."""
    one = MeetingStatus(
        Meeting(sid), fresh, 50, {}, claims_per_second=2.5, runway_seconds=240.0,
        oldest_fresh_seconds=None, unrecorded=0, state=state, reason="",
        forecast=Forecast(200.0, 300.0, 50),
    )  # fmt: skip
    return replace(one, **more)  # type: ignore[arg-type]


def view(*found: MeetingStatus, **more: object) -> View:
    """Return a reading in which all else is well."""
    snapshot = Snapshot(
        NOW, 1.0, LedgerHealth(unmatched=0), found=found, heartbeat_at_ms=NOW_MS - 2000,
        workspaces=(WorkspaceHealth("default", 9.5, None),),
    )  # fmt: skip
    sparks = {each.meeting.sid: Spark(each.meeting.sid, (0.0, 4.0), (0.0, 0.0)) for each in found}
    return View(replace(snapshot, **more), sparks, 5.0, NOW)  # type: ignore[arg-type]


def drawn(view: View, columns: int = 80, lines: int = 24) -> str:
    """Return the picture as text."""
    console = Console(width=columns, height=lines, color_system=None)
    with console.capture() as captured:
        console.print(screen(view, columns, lines))
    return captured.get()


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 140, 220])
def test_it_fits_terminals_of_any_size(columns: int) -> None:
    """No line is wrapped, and what an operator needs first is in all of them."""
    text = drawn(view(status("a-meeting-with-a-rather-long-name", "low", 12)), columns)
    assert all(len(line) <= columns for line in text.splitlines())
    assert "low" in text
    assert "4 min" in text
    assert ("▁█" in text) == (columns >= 96)


def test_of_many_meetings_the_most_urgent_are_shown_and_the_others_counted() -> None:
    """The picture is never taller than the terminal."""
    found = [status(f"m{n:03}", "empty" if n < 30 else "ok", 0) for n in range(1000)]
    text = drawn(view(*found), lines=30)
    assert len(text.splitlines()) <= 30
    assert "m000" in text
    assert "m999" not in text
    shown = sum(line.startswith(" m0") for line in text.splitlines())
    assert shown >= 20
    assert f"and {1000 - shown} more meetings, {30 - shown} of them not ok" in text


def test_a_redis_that_is_away_is_shown_first_and_nothing_is_guessed() -> None:
    """No levels, no worker, no rates: they are not known."""
    text = drawn(view(store_problem="Redis: connection refused", found=(), heartbeat_at_ms=None))
    assert "Redis does not answer" in text.splitlines()[0]
    assert "connection refused" in text
    assert "unknown while Redis does not answer" in text
    assert "No meetings yet" not in text
    assert "never swept" not in text


def test_what_is_wrong_is_said_with_its_reason() -> None:
    """A silent worker, a blocked provider, a ledger away, unmatched bookings."""
    broken = view(
        status("intro", "blocked", 3, reason="401: invalid API Key", unrecorded=7),
        heartbeat_at_ms=NOW_MS - 300_000,
        workspaces=(
            WorkspaceHealth("default", 1.0, Block("401: key", NOW_MS - 600_000, NOW_MS + 40_000)),
        ),
        ledger=LedgerHealth("database: away"),
    )
    text = drawn(broken, 140)
    for words in ("not responding", "5 min ago", "blocks workspace default", "401: key",
                  "next try in 40 s", "database: away", "7 claims",
                  "401: invalid API Key"):  # fmt: skip
        assert words in text
    assert "3 unmatched" in drawn(view(status("m"), ledger=LedgerHealth(unmatched=3)))


def test_a_reading_that_grows_old_says_so() -> None:
    """The screen says so once a newer reading should have come."""
    fresh = view(status("m"))
    assert "no newer reading" not in drawn(replace(fresh, now=NOW + timedelta(seconds=2)))
    assert "9 s ago: no newer reading" in drawn(replace(fresh, now=NOW + timedelta(seconds=9)))


def test_a_bar_is_never_empty_with_a_link_left() -> None:
    """The bar is full at the target, and above it."""
    assert bar(0, 500, 8, "").plain == "·" * 8
    assert bar(1, 500, 8, "").plain == "▏" + "·" * 7
    assert bar(250, 500, 8, "").plain == "████····"
    assert bar(500, 500, 8, "").plain == bar(900, 500, 8, "").plain == "█" * 8
    assert bar(0, 0, 4, "").plain == "████"


def test_a_sparkline_keeps_its_gaps() -> None:
    """No sample is different from no claims, and many values share a cell."""
    assert sparkline((0.0, None, 7.0, 3.5), 20) == "▁ █▅"
    assert sparkline((None, None), 20) == "  "
    assert sparkline((0.0, 0.0), 20) == "▁▁"
    assert len(sparkline([1.0] * 60, 20)) == 20
    assert sparkline([0.0, 0.0, 0.0, 8.0, 8.0, 8.0], 2) == "▁█"
