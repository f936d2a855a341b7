"""Test what `up` prints: the admin key in the run that makes it, and later the place of the key."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pool.cli.announce import announce
from pool.config.settings import load
from pool.up.data_dir import DataDirectory
from pool.up.parts import Commands, make_plan
from pool.up.run import _running

MINE = "lp_db688112_d8--f_5skzuiqK32o4Ss5JbHaRTDLdOQpxDCmIxi0OU"


def printed(place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the output of a start on this directory."""
    settings = load()
    data = DataDirectory(place / "data dir")
    announce(_running(make_plan(settings, data, ["demo"], Commands()), data, ["demo"]))
    return capsys.readouterr().out


def header_of(text: str, place: Path) -> str:
    """Return the X-API-Key header that the printed line sends, as a shell makes it."""
    (line,) = re.findall(r"^  curl (.*)$", text, re.MULTILINE)
    show = f"curl() {{ printf '%s\\n' \"$@\"; }}; curl {line}"
    done = subprocess.run(["bash", "-c", show], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (header,) = [word for word in done.stdout.splitlines() if word.startswith("X-API-Key: ")]
    return header.removeprefix("X-API-Key: ")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ADMIN_KEY", "ADMIN_KEY_FILE"):
        monkeypatch.delenv(f"LINKPOOL_{name}", raising=False)
    return tmp_path


def test_a_made_key_is_shown_once_and_the_line_always_works(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first start shows it; later ones say where it is kept. Each curl line sends it."""
    first, again = printed(place, capsys), printed(place, capsys)
    key = (place / "data dir/admin.key").read_text().strip()
    assert first.count(key) == 1
    assert key not in again
    for text in (first, again):
        assert str(place / "data dir/admin.key") in text
        assert header_of(text, place) == key


def test_a_key_from_the_environment_is_never_shown(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line reads it from the variable, which it names."""
    monkeypatch.setenv("LINKPOOL_ADMIN_KEY", MINE)
    text = printed(place, capsys)
    assert MINE not in text
    assert re.search(r"Key +in LINKPOOL_ADMIN_KEY\n", text)
    assert header_of(text, place) == MINE


def test_a_key_from_a_file_is_never_shown(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line reads it from the file, wherever it is pasted."""
    kept = place / "it's mine"
    kept.write_text(MINE + "\n")
    kept.chmod(0o600)
    monkeypatch.setenv("LINKPOOL_ADMIN_KEY_FILE", kept.name)
    text = printed(place, capsys)
    assert MINE not in text
    assert header_of(text, place / "data dir") == MINE


def test_the_demo_comes_right_after_the_api(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is printed with the sandbox only; a real workspace has no demo."""
    lines = printed(place, capsys).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["API", "Demo"]
    assert lines[2].split()[1] == lines[1].split()[1] + "/demo"
    monkeypatch.setenv("LINKPOOL_NEETOCAL_SUBDOMAIN", "acme")
    monkeypatch.setenv("LINKPOOL_NEETOCAL_API_KEY", "a-key")
    assert "Demo" not in printed(place, capsys)
