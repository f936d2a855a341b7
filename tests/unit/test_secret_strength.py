"""Test which secrets are accepted, and the message for each that is not."""

from __future__ import annotations

import base64
import random
import uuid
from pathlib import Path

import pytest

from pool.config.addresses import secret_key
from pool.config.secret_strength import weakness
from pool.config.settings import load
from pool.errors import SettingsError
from pool.up.data_dir import DataDirectory

WEAK = {
    "short": "Vq8Zk2Lw0sXy7Rt4Gh9Jd3Fb6Nm1pQe"[:31],
    "one letter": "a" * 64,
    "few letters": "abcabdacdbdacbadbcdabcdbacdbadcb",
    "one piece again": "Vq8Zk2Lw" * 5,
    "in order": "abcdefghijklmnopqrstuvwxyz0123456789",
    "a sample": "change-me-change-me-please-0123456789",
    "another sample": "YOUR_SECRET_KEY_goes_here_1234567890",
    "a password": "my-super-long-password-that-is-long-1",
    "empty, but set": " " * 40,
}


@pytest.mark.parametrize("name", ["ADMIN_KEY", "SECRET_KEY"])
@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_secret_stops_the_start(name: str, kind: str) -> None:
    """One line names the setting and how to make a good secret, and reveals nothing."""
    with pytest.raises(SettingsError) as refused:
        load({f"LINKPOOL_{name}": WEAK[kind]})
    line = str(refused.value)
    assert refused.value.name == f"LINKPOOL_{name}"
    assert "secrets.token_urlsafe(32)" in line
    assert "\n" not in line
    assert WEAK[kind] not in line


@pytest.mark.parametrize("name", ["admin.key", "secret.key"])
@pytest.mark.parametrize("kind", [each for each in WEAK if WEAK[each].strip()])
def test_a_weak_secret_in_the_data_directory_stops_the_start(
    tmp_path: Path, name: str, kind: str
) -> None:
    """It is as good for forging a session as one from the environment."""
    directory = DataDirectory(tmp_path / "data")
    directory.write(name, WEAK[kind] + "\n")
    ways = [directory.admin_key] if name == "admin.key" else [directory.secret_key]
    if name == "secret.key":
        ways.append(lambda: secret_key(load({}, data_dir=directory.path)).decode())
    for way in ways:
        with pytest.raises(SettingsError) as refused:
            way()
        line = str(refused.value)
        assert str(directory.path / name) in line
        assert "secrets.token_urlsafe(32)" in line
        assert WEAK[kind] not in line


def test_random_secrets_are_taken() -> None:
    """Random secrets are accepted in every usual form.

    They are the same in each run: of 32 random hex digits about one in 100,000 has so many
    neighbours that it is refused, and another must be made.
    """
    chosen = random.Random(7)

    def text(count: int) -> str:
        return base64.urlsafe_b64encode(chosen.randbytes(count)).decode().rstrip("=")

    for _ in range(500):
        for secret in (
            text(32),
            chosen.randbytes(16).hex(),
            chosen.randbytes(32).hex(),
            str(uuid.UUID(bytes=chosen.randbytes(16), version=4)),
            f"lp_{chosen.randbytes(4).hex()}_{text(32)}",
        ):
            assert weakness(secret) is None
