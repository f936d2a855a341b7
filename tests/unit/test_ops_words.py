"""Test how the page writes numbers and times, and the geometry of its small pictures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pool.api.ops.charts.figures import bar, sparkline
from pool.api.ops.frame.rendering import ticked
from pool.operations.words import (
    ago_words,
    at_least_words,
    count_words,
    range_words,
    rate_words,
    runway_words,
    times_words,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "no claims"), (59, "59 s"), (600, "10 min"), (7200, "2 h"), (864_000, "10 days"),
        (119.4, "119 s"), (119.6, "2 min"), (7_195, "2 h"), (172_790, "2 days"),
    ],
)  # fmt: skip
def test_a_runway_is_said_in_words(seconds: float | None, words: str) -> None:
    """Short ones in seconds, long ones in days."""
    assert runway_words(seconds) == words


@pytest.mark.parametrize(
    ("per_second", "words"),
    [(0, "0/s"), (1234.5, "1,234/s"), (2.25, "2.2/s"), (0.05, "3.0/min"), (0.001, "3.6/h")],
)
def test_a_rate_is_said_in_the_unit_people_can_picture(per_second: float, words: str) -> None:
    """Nobody pictures 0.001 claims a second."""
    assert rate_words(per_second) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (None, None, ""),
        (180, None, "at least 3 min"),
        (180, 360, "3 to 6 min"),
        (50, 360, "50 s to 6 min"),
        (180, 181, "about 3 min"),
    ],
)
def test_a_range_is_said_as_short_as_it_can_be(
    low: float | None, high: float | None, words: str
) -> None:
    """A bound beyond what can be foreseen is left open."""
    assert range_words(low, high) == words


def test_a_moment_is_said_as_a_distance_from_now() -> None:
    """It may be in the past or in the future."""
    now = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    assert ago_words(now, now) == "just now"
    assert ago_words(now - timedelta(seconds=90), now) == "90 s ago"
    assert ago_words(now + timedelta(minutes=5), now) == "in 5 min"


def test_a_count_carries_its_noun() -> None:
    """Thousands are separated, and one has a singular."""
    assert count_words(1, "link") == "1 link"
    assert count_words(1204, "entry", "entries") == "1,204 entries"
    assert [times_words(count) for count in (1, 2, 1204)] == ["once", "twice", "1,204 times"]


def test_a_growing_count_is_read_aloud_ever_more_seldom() -> None:
    """Of a thousand visitors turned away, a screen reader announces some thirty, not each."""
    said = [at_least_words(count, "visitor") for count in range(1, 1_001)]
    assert said[:2] == ["1 visitor", "2 visitors"]
    assert (said[9], said[10], said[99]) == (
        "10 visitors",
        "more than 10 visitors",
        "more than 90 visitors",
    )
    assert said[999] == "more than 900 visitors"
    assert len(set(said)) < 40


@pytest.mark.parametrize(
    ("level", "target", "filled", "goal"),
    [(0, 50, 0, 100), (25, 50, 50, 100), (100, 50, 100, 50), (0, 0, 0, 0)],
)
def test_a_bar_shows_level_against_target(
    level: int, target: int, filled: float, goal: float
) -> None:
    """It is as long as the larger of the two, so that neither leaves it."""
    drawn = bar(level, target)
    assert (drawn.level_percent, drawn.target_percent) == (filled, goal)
    assert f"{level:,} fresh of {target:,}" in drawn.words


def test_a_gap_in_a_sparkline_stays_a_gap() -> None:
    """Nothing is drawn where there is no value."""
    drawn = sparkline([1, 2, None, 3], "claims")
    assert len(drawn.lines) == 2
    assert sparkline([None], "claims").lines == ()
    assert "no history" in sparkline([], "claims").words


def test_a_sparkline_stays_within_its_frame() -> None:
    """The highest value is at the top and zero at the bottom, at any scale."""
    for values in ([0, 0], [0, 1e9], [1e-9, 0]):
        (line,) = sparkline(values, "claims").lines
        heights = [float(point.split(" ")[1]) for point in line[1:].split("L")]
        assert all(2 <= height <= 20 for height in heights)


def test_commands_in_a_message_look_like_commands() -> None:
    """Nothing in a message becomes markup of its own."""
    assert ticked("is `linkpool worker` up?") == "is <code>linkpool worker</code> up?"
    assert ticked("`<b>` & a lone ` tick") == "<code>&lt;b&gt;</code> &amp; a lone ` tick"
    assert ticked("") == ""
