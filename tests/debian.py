"""Commands that Debian packages bring, and a machine may lack."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "caddy": "caddy",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}


def debian(command: str) -> str:
    """The path of the command; without it the test is skipped, on CI it fails."""
    found = shutil.which(command)
    if found is None:
        missing = f"{command} is not installed: apt-get install {PACKAGES[command]}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found
