"""Test what the terminal prints at any width, and the completion of commands by a shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pool.cli.lengths import length
from pool.cli.main import app
from pool.cli.meetings import in_words
from pool.cli.printing import print_table
from pool.cli.status import print_statuses
from pool.model.forecast import Forecast
from pool.model.meetings import Meeting
from pool.operations.status import MeetingStatus

ID = "0123456789abcdef" * 2
COLUMNS = ["id", "state", "event", "received_at", "match", "workspace", "why"]
ROW = [ID, "unmatched", "booking_created", "2026-11-26T07:00:00+00:00", "", "default", "no [b]slug"]


@pytest.mark.parametrize(
    ("given", "unit", "number"),
    [("600", "seconds", 600), ("10 min", "seconds", 600), ("30 days", "seconds", 2_592_000),
     ("2 weeks", "days", 14), ("90", "days", 90), ("90 min", "hours", 1.5), (24.0, "hours", 24.0)],
)  # fmt: skip
def test_an_option_takes_a_length_of_time_in_words_or_its_own_unit(
    given: str | float, unit: str, number: float
) -> None:
    assert length(unit, whole=unit != "hours")(given) == number


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cover-seconds", "30 dayz"), "write 45 s, 10 min, 2 h or 30 days"),
        (("--cover-seconds", "-1"), "at least 0 seconds"),
        (("--claim-ttl-seconds", "5 s"), "at least 60 seconds"),
        (("--max-fresh-age-seconds", "0.5"), "no whole number of seconds"),
    ],
)
def test_an_option_that_is_no_length_of_time_says_what_to_write(
    words: tuple[str, str], said: str
) -> None:
    """And which option it is."""
    ended = CliRunner().invoke(app, ["meetings", "set", "intro", *words])
    assert ended.exit_code == 2
    printed = " ".join(ended.output.replace("│", " ").split())
    assert said in printed
    assert words[0] in printed


@pytest.mark.parametrize("width", [20, 40, 80, 100, 160, 240])
def test_an_id_is_whole_at_any_width(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other commands ask for it; and nothing of the rest is left out, or read as markup."""
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("Events", COLUMNS, [ROW, ["short", *ROW[1:]]])
    printed = capsys.readouterr().out
    assert ID in printed
    assert "…" not in printed
    together = "".join(printed.split())
    if width < 100:
        assert "whyno[b]slug" in together
    for cell in ("unmatched", "2026-11-26T07:00:00+00:00"):
        assert width < 160 or cell in printed
    assert max(len(line) for line in printed.splitlines()) <= max(width, len(ID))


def test_a_pipe_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Output that goes to no terminal has no width to fit into."""
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table("Events", COLUMNS, [ROW])
    [line] = [line for line in capsys.readouterr().out.splitlines() if ID in line]
    assert "default" in line


def test_a_sid_is_whole_in_the_table_of_meetings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sid = "a-meeting-with-a-sid-of-sixty-four-characters-which-is-the-longest"[:64]
    print_statuses(
        [
            MeetingStatus(
                Meeting(sid), fresh=1, target=50, claims_per_second=1.0, runway_seconds=1.0,
                state="low", reason="it is low", counts={},
                oldest_fresh_seconds=1.0, unrecorded=0, forecast=Forecast(1.0, 1.0, 50),
            )
        ]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert sid in printed.splitlines()
    assert "low  1 of 50 links, 1.0/s, runway 1 s, it is low" in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("claim_ttl_seconds", 2_592_000, "30 days"), ("runway_low_seconds", 18154.6094, "5 h"),
        ("claims_per_second", 1.23456, "1.235 per second"), ("fresh", 50, "50"),
        ("paused", False, "False"), ("runway_seconds", None, "None"),
    ],
)  # fmt: skip
def test_a_record_of_a_meeting_is_in_words(name: str, value: object, said: str) -> None:
    """The words are the page's, and `--json` has the numbers for programs."""
    assert str(in_words(name, value)) == said


def test_a_shell_completes_commands() -> None:
    """bash, zsh and fish are supported, and `--show-completion` prints the script."""
    asked = {"COMP_WORDS": "linkpool ev", "COMP_CWORD": "1"}
    asked |= {"_TYPER_COMPLETE_ARGS": "linkpool ev", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    for shell in ("bash", "zsh", "fish"):
        environ = asked | {"_LINKPOOL_COMPLETE": f"complete_{shell}"}
        done = CliRunner().invoke(app, [], prog_name="linkpool", env=environ)
        assert "events" in done.stdout, (shell, done.output)
        assert "meetings" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create"),
        ("keys", "list"),
        ("public-keys", "list"),
        ("tokens", "list-secrets"),
        ("token", "--meeting", "demo", "--customer", "ann"),
    ],
    ids=" ".join,
)
def test_a_command_from_another_directory_names_the_path(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how to name the right one, and makes nothing there."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert str(tmp_path / ".linkpool" / "ledger.sqlite3") in done.stderr
    assert "--data-dir" in done.stderr
    assert "SQLITE" not in done.stderr
    assert list(tmp_path.iterdir()) == []
