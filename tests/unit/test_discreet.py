"""Test that a log names an error's kind and place, and none of its values."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pool.errors import InvalidRequest
from pool.telemetry.discreet import discreet_message, discreet_traceback
from pool.telemetry.logs import configure_logging

SLUG = "one-off-c5530bc7c9ab"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (f"invalid literal for int(): '{SLUG}'", "invalid literal for int(): '…'"),
        (f'no such thing: "{SLUG}"', "no such thing: '…'"),
        (f"Key (slug)=({SLUG}) already exists.", "Key (slug)=(…) already exists."),
        (repr(f"it's {SLUG}"), "'…'"),
        (repr(f"a \"b\" 'c' {SLUG}"), "'…'"),
        (f"cut short: '{SLUG}", "cut short: '…'"),
        ("connection refused", "connection refused"),
    ],
)  # fmt: skip
def test_messages_lose_their_values_and_keep_their_words(message: str, said: str) -> None:
    """Values are removed with any quotes around them."""
    assert discreet_message(message) == said


def failing() -> None:
    try:
        try:
            int(SLUG)
        except ValueError as error:
            raise KeyError(SLUG) from error
    except KeyError:
        raise ExceptionGroup("several", [RuntimeError(f"not '{SLUG}'")]) from None


def test_a_traceback_says_where_and_what_kind_for_the_whole_chain() -> None:
    """The chain includes errors behind the error, and errors in groups."""
    for work in (failing, lambda: {}[SLUG]):
        try:
            work()
        except Exception:  # noqa: BLE001 - whatever it is
            text = discreet_traceback(sys.exc_info())  # type: ignore[arg-type]
            assert "test_discreet.py" in text
            assert SLUG not in text
    assert "KeyError: '…'" in text


def test_our_own_errors_keep_their_words() -> None:
    """They are written for operators."""
    try:
        raise InvalidRequest("the setting 'min_fresh' is above 'max_fresh'")
    except InvalidRequest:
        text = discreet_traceback(sys.exc_info())  # type: ignore[arg-type]
    assert "'min_fresh'" in text


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Put the settings of logging back."""
    root = logging.getLogger()
    before: list[Any] = [root.handlers[:], root.level]
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_as_it_was")
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_log_of_an_exception_holds_a_value(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """That holds for both formats, and for a library's log lines."""
    configure_logging(log_format=form, log_level="info")
    try:
        int(SLUG)
    except ValueError:
        structlog.get_logger().exception("it failed")
        logging.getLogger("some.library").exception("so did this")
    said = capsys.readouterr().err
    assert said.count("ValueError") >= 2
    assert SLUG not in said
    if form == "json":
        assert all(json.loads(line) for line in said.splitlines())
