"""`python -m pool.api`: the API alone, with all its settings from the environment."""

from __future__ import annotations

import sys

from pool.api.serve import serve
from pool.errors import SettingsError
from pool.settings import load

if __name__ == "__main__":
    try:
        serve(load())
    except SettingsError as error:
        sys.stderr.write(f"linkpool api: {error}\n")
        raise SystemExit(2) from None
