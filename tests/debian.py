"""Find commands of Debian packages, which a machine may lack."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "caddy": "caddy",
    "firefox-esr": "firefox-esr",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "node": "nodejs",
    "npm": "npm",
    "php": "php-cli",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "ruby": "ruby ruby-sinatra ruby-webrick",
}


def debian(command: str) -> str:
    """Return the path of the command. Without it the test is skipped; on CI it fails."""
    return shutil.which(command) or lacking(command, PACKAGES[command])


def lacking(what: str, packages: str) -> NoReturn:
    """Skip the test, or fail on CI, and name the packages that bring the missing commands."""
    missing = f"{what} is not installed: apt-get install {packages}"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
