"""Run the API alone: `python -m pool.api`, with all settings from the environment."""

from __future__ import annotations

import sys

from pool.api.server.serve import serve
from pool.config.settings import load
from pool.errors import SettingsError

if __name__ == "__main__":
    try:
        serve(load())
    except SettingsError as error:
        sys.stderr.write(f"linkpool api: {error}\n")
        raise SystemExit(2) from None
