"""Test that files and directories which others could read or change are refused, with advice on how
to mend it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pool.config import file_trust
from pool.config.settings import load
from pool.errors import SettingsError
from pool.up.data_dir import DataDirectory

STRANGER = 54_321
SECRET = "6bd9ff6ca973349924e5a0f057bc4535cb7163c30e58783bf7748af6b946610d"
# Needs other owners than this user; CI runs as root.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    place = tmp_path / "home"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    return place


@pytest.fixture
def secret(home: Path) -> Path:
    path = home / "a secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def read(path: Path) -> str | None:
    """Read the secret as a setting does."""
    key = load({"LINKPOOL_ADMIN_KEY_FILE": str(path)}).admin_key
    return key.get_secret_value() if key else None


def refusal(path: Path) -> str:
    """Return the one line with which a setting refuses this file."""
    with pytest.raises(SettingsError) as refused:
        read(path)
    line = str(refused.value)
    assert line.startswith("LINKPOOL_ADMIN_KEY_FILE")
    assert "\n" not in line
    assert SECRET not in line
    return line


def mend(line: str) -> None:
    """Run the command that a refusal ends with."""
    command = re.search(r": ((?:chmod|chown) .*)$", line)
    assert command, line
    subprocess.run(shlex.split(command[1]), check=True, timeout=10)


# -- secrets in files -------------------------------------------------------------------------


def as_nobody_special(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Act as a user who is not root, and who owns these paths."""
    user = os.geteuid() or 12_345
    for path in paths:
        if os.geteuid() == 0:
            os.chown(path, user, user, follow_symlinks=False)
    monkeypatch.setattr(file_trust.os, "geteuid", lambda: user)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o666])
def test_a_secret_that_others_may_read_or_change_is_refused(
    home: Path, secret: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command in the refusal mends it."""
    as_nobody_special(monkeypatch, home, secret)
    assert read(secret) == SECRET
    secret.chmod(mode)
    while True:
        mend(refusal(secret))
        if secret.stat().st_mode & 0o077 == 0:
            break
    assert read(secret) == SECRET


def test_a_private_directory_hides_what_is_in_it(
    home: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """deploy/secrets is one: each file is readable by all, and the directory is closed."""
    as_nobody_special(monkeypatch, home, secret)
    secret.chmod(0o444)
    refusal(secret)
    home.chmod(0o700)
    assert read(secret) == SECRET


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_secret_that_others_may_replace_is_refused(home: Path, secret: Path, mode: int) -> None:
    """A user who may write to the directory may replace it; in one like /tmp they cannot."""
    home.chmod(mode)
    line = refusal(secret)
    home.chmod(0o1777)
    assert read(secret) == SECRET
    home.chmod(mode)
    mend(line)
    assert read(secret) == SECRET


@as_root
@pytest.mark.parametrize("mode", [0o444, 0o440, 0o400])
def test_secrets_that_a_container_is_given_are_read(
    home: Path, secret: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's: readable by all, of the owner outside, in a directory of root. Kubernetes's: of
    root, behind links, in a directory like /tmp."""
    monkeypatch.setattr(file_trust.os, "geteuid", lambda: 10_001)
    secret.chmod(mode)
    assert read(secret) == SECRET
    os.chown(secret, STRANGER, STRANGER)
    assert read(secret) == SECRET
    os.chown(secret, 0, 0)
    data = home / "..2026"
    data.mkdir(mode=0o755)
    secret.rename(data / "key")
    (home / "..data").symlink_to(data)
    (home / "key").symlink_to("..data/key")
    home.chmod(0o1777)
    assert read(home / "key") == SECRET


@as_root
def test_a_secret_or_link_of_a_stranger_is_refused(
    home: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may have put it into a directory like /tmp."""
    home.chmod(0o1777)
    link = home / "link"
    link.symlink_to(secret)
    assert read(link) == SECRET
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert "symbolic link of another user" in refusal(link)
    os.chown(secret, STRANGER, STRANGER)
    mend(refusal(secret))
    assert read(secret) == SECRET
    os.chown(home, STRANGER, STRANGER)
    assert "belongs to another user" in refusal(secret)


def test_a_secret_may_come_from_a_command() -> None:
    """`LINKPOOL_ADMIN_KEY_FILE=<(pass show linkpool)` works as it did."""
    command = f"X=<(echo {SECRET}); exec 3< <(echo {SECRET}); cat /dev/fd/3 >/dev/null"
    subprocess.run(["bash", "-c", command], check=True, timeout=10)
    reading, writing = os.pipe()
    os.write(writing, SECRET.encode())
    os.close(writing)
    assert read(Path(f"/dev/fd/{reading}")) == SECRET
    os.close(reading)


# -- the data directory -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o701])
def test_a_data_directory_that_is_open_is_refused(home: Path, mode: int) -> None:
    """One line names it and the command that closes it."""
    data = home / "data"
    DataDirectory(data)
    data.chmod(mode)
    with pytest.raises(SettingsError, match="LINKPOOL_DATA_DIR") as refused:
        DataDirectory(data)
    mend(str(refused.value))
    DataDirectory(data)


@as_root
def test_a_data_directory_of_somebody_else_is_refused(home: Path) -> None:
    """A link to such a directory is refused, too; a link of our own to a directory of our own is
    fine.
    """
    data, link = home / "data", home / "link"
    DataDirectory(data)
    link.symlink_to(data)
    DataDirectory(link)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(SettingsError, match="symbolic link of another user"):
        DataDirectory(link)
    os.chown(data, STRANGER, STRANGER)
    with pytest.raises(SettingsError, match="belongs to another user") as refused:
        DataDirectory(data)
    mend(str(refused.value))
    DataDirectory(data)


@pytest.mark.parametrize("name", ["admin_key", "secret_key", "sandbox_keys"])
def test_a_key_file_that_others_read_or_that_is_a_link_is_refused(home: Path, name: str) -> None:
    """A key that others may know is not used any further until a person says so."""
    data = DataDirectory(home / "data")
    key = getattr(data, name)()
    (path,) = [each for each in data.path.iterdir() if each.suffix in (".key", ".keys")]
    assert path.stat().st_mode & 0o777 == 0o600
    for mode in (0o644, 0o620):
        path.chmod(mode)
        with pytest.raises(SettingsError, match="open to other users") as refused:
            getattr(DataDirectory(data.path), name)()
        mend(str(refused.value))
    assert getattr(DataDirectory(data.path), name)() == key
    path.rename(home / "elsewhere")
    path.symlink_to(home / "elsewhere")
    with pytest.raises(SettingsError, match="not a regular file"):
        getattr(DataDirectory(data.path), name)()


@as_root
def test_a_key_file_of_somebody_else_is_refused(home: Path) -> None:
    """It is their key, not ours."""
    data = DataDirectory(home / "data")
    data.admin_key()
    os.chown(data.file("admin.key"), STRANGER, STRANGER)
    with pytest.raises(SettingsError, match="belongs to another user") as refused:
        data.admin_key()
    mend(str(refused.value))
    assert data.admin_key().startswith("lp_")
