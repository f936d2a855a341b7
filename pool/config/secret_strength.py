"""Check that a secret cannot be guessed: that it is no word, pattern or sample."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from pool.errors import SettingsError

CHARACTERS = 32
_DISTINCT = 8  # 32 random hex digits have about 14 different ones
MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"

_SAMPLES = re.compile(
    r"chang(e|ing)(me|this|it)|replace(me|this|with)|placeholder|insertyour|your(own)?(very|super|long)*"
    r"(secret|key|admin|password)|supersecret|topsecret|notasecret|insecure|password|"
    r"example|samplekey|deadbeef|qwerty|letmein|lorem"
)


def weakness(secret: str) -> str | None:
    """Return what is weak about a secret, quoting no part of it, or None if nothing is."""
    if len(secret) < CHARACTERS:
        return f"has fewer than {CHARACTERS} characters"
    if len(set(secret)) < _DISTINCT:
        return f"has fewer than {_DISTINCT} different characters"
    if secret in (secret + secret)[1:-1]:
        return "repeats one piece over and over"
    steps = [ord(after) - ord(before) for before, after in itertools.pairwise(secret)]
    if 2 * sum(step in (-1, 0, 1) for step in steps) > len(steps):
        return "is a sequence of consecutive characters"
    if _SAMPLES.search(re.sub(r"[^a-z]+", "", secret.lower())):
        return "looks like a sample or placeholder"
    return None


def check_secret(secret: str) -> None:
    """Raise ValueError, with a command that makes a good secret, if this one is weak."""
    if (weak := weakness(secret)) is not None:
        raise ValueError(f"{weak}; make one with {MAKE_ONE}")


def check_kept_secret(path: Path, secret: str) -> None:
    """Raise SettingsError if the secret that was read from the data directory is weak.

    linkpool makes good ones, so somebody else put this one there.
    """
    if (weak := weakness(secret)) is not None:
        raise SettingsError(
            "LINKPOOL_DATA_DIR", f"the secret in {path} {weak}; make one with {MAKE_ONE}"
        )
