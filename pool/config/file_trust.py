"""Check whether a file or directory can be trusted: who may change it, and who may read it.

Each function returns None, or one line that says what is wrong and the command that mends it.
On Windows, which has no such owners and modes, they always return None.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

_ROOT = 0
_WRITERS = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = 0o077


def distrust_of_directory(path: Path) -> str | None:
    """Return why other users could touch this directory. Our own symbolic link to one is allowed.

    Raise OSError when it cannot be looked at.
    """
    if not hasattr(os, "geteuid"):
        return None
    link, found = path.lstat(), path.stat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (os.geteuid(), _ROOT):
        return f"{path} is a symbolic link of another user; remove it"
    if not stat.S_ISDIR(found.st_mode):
        return f"{path} is not a directory"
    return _not_ours(path, found, "-R ", "used it: chmod 700")


def distrust_of_own_file(path: Path) -> str | None:
    """Return why other users could have touched this file of ours. Return None if it is missing.

    Raise OSError when it cannot be looked at.
    """
    if not hasattr(os, "geteuid"):
        return None
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a regular file (a link?); put the file itself there"
    return _not_ours(path, found, "", "read it: chmod 600")


def _not_ours(path: Path, found: os.stat_result, how: str, harm: str) -> str | None:
    """Return why what is found at a path is not this user's alone."""
    name = shlex.quote(str(path))
    if found.st_uid != os.geteuid():
        return f"{path} belongs to another user; if it is yours: chown {how}{os.geteuid()} {name}"
    if found.st_mode & _OTHERS:
        return f"{path} is open to other users; if none of them {harm} {name}"
    return None


def distrust_of_secret_file(path: Path) -> str | None:
    """Return why other users may know, or may have chosen, the secret in this file.

    Symbolic links are followed, since Kubernetes makes them. Containers get secrets that every
    user may read, in a directory that only root can change, and there the owner is that of the
    file outside.

    Raise OSError when it cannot be looked at.
    """
    if not hasattr(os, "geteuid"):
        return None
    ours = (os.geteuid(), _ROOT)
    link, found = path.lstat(), path.stat()
    if stat.S_ISFIFO(found.st_mode):
        return None  # <(command) in a shell: only the two ends know it
    real = path.resolve()
    parent = real.parent.stat()
    name, folder = shlex.quote(str(path)), shlex.quote(str(real.parent))
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in ours:
        return f"{path} is a symbolic link of another user; remove it"
    if parent.st_uid not in ours:
        return f"{real.parent} belongs to another user; move {path} to a directory of yours"
    # In a directory like /tmp any user may add files, but none may replace those of others.
    if parent.st_mode & _WRITERS and not parent.st_mode & stat.S_ISVTX:
        return f"{real.parent} can be changed by other users: chmod go-w {folder}"
    placed_by_root = parent.st_uid == _ROOT and not parent.st_mode & _WRITERS
    if found.st_uid not in ours and not placed_by_root:
        return f"{path} belongs to another user; if it is yours: chown {os.geteuid()} {name}"
    if found.st_mode & _WRITERS:
        return f"{path} can be changed by other users: chmod go-w {name}"
    hidden = not parent.st_mode & _OTHERS
    by_root = found.st_uid == _ROOT or placed_by_root
    if found.st_mode & _OTHERS and not (hidden or by_root):
        return f"{path} can be read by other users; if none did: chmod 600 {name}"
    return None
