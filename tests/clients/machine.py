"""What a machine must have for the tests of clients and examples in other languages."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

SOURCES = {
    "node": "Node.js 18 or newer, apt-get install nodejs npm",
    "npm": "apt-get install npm",
    "php": "apt-get install php-cli",
    "ruby": "apt-get install ruby ruby-sinatra ruby-webrick",
}


def command(name: str) -> str:
    """Return the path of a command; without it the test is skipped, on CI it fails."""
    return shutil.which(name) or missing(name, SOURCES[name])


def missing(what: str, source: str) -> NoReturn:
    """Skip the test and say where to get what is missing; on CI fail."""
    said = f"{what} is not installed: {source}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)
