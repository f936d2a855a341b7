"""Start a part's program so that no folder of the current directory can replace it.

`python -m worker` would first look for a folder `worker` in the current directory, and so would a
new interpreter that a library starts. So each of them gets `-P` or PYTHONSAFEPATH. Nothing is
imported from the current directory; only `linkpool.toml` is read there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pool


def module(*words: str) -> tuple[str, ...]:
    """Return the command that runs a module of this installation, with its arguments."""
    return (sys.executable, "-P", "-m", *words)


def safe_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment where Python finds this linkpool and no module of the directory."""
    safe = dict(environ)
    safe["PYTHONSAFEPATH"] = "1"
    root = Path(pool.__file__).absolute().parent.parent
    # A source tree that is not installed is found only by its path. An installed one needs none.
    if root.name not in ("site-packages", "dist-packages"):
        kept = safe.get("PYTHONPATH")
        if str(root) not in (kept or "").split(os.pathsep):
            safe["PYTHONPATH"] = f"{root}{os.pathsep}{kept}" if kept else str(root)
    return safe


def become(*words: str) -> NoReturn:
    """Replace this process by a module of this installation. Never returns."""
    os.execve(sys.executable, module(*words), safe_environ(os.environ))  # noqa: S606
