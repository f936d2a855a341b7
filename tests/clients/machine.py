"""What a machine must have for the tests of clients and examples in other languages."""

from __future__ import annotations

import os
import shutil

import pytest

SOURCES = {
    "node": "Node.js 20 or newer",
    "npm": "npm, which comes with Node.js",
    "php": "apt-get install php-cli",
    "ruby": "apt-get install ruby ruby-sinatra ruby-webrick",
}


def command(name: str) -> str:
    """Return the path of a command; without it the test is skipped, on CI it fails."""
    found = shutil.which(name)
    if found is None:
        missing = f"{name} is not installed: {SOURCES[name]}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found
