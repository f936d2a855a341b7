"""What the operators' page says."""

from __future__ import annotations

import pytest

from pool.api.routes_ops import runway_words, store_away


def test_a_redis_that_is_away_is_said_and_nothing_else() -> None:
    """Without Redis nothing is known of meetings or workers, so nothing is claimed of them."""
    text = store_away("Redis: <refused>")
    assert "Redis does not answer" in text
    assert "&lt;refused&gt;" in text
    assert "recover by themselves" in text
    assert "No meetings" not in text
    assert "worker" not in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "no claims"), (59, "59 s"), (600, "10 min"), (7200, "2 h"), (864_000, "10 days")],
)
def test_a_runway_is_said_in_words(seconds: float | None, words: str) -> None:
    """Short ones in seconds, long ones in days."""
    assert runway_words(seconds) == words
