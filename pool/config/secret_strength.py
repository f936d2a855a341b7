"""Is a secret one that nobody guesses? What looks like a word, a pattern or a sample is not."""

from __future__ import annotations

import itertools
import re

CHARACTERS = 32
_DISTINCT = 8  # 32 random hex digits have about 14 different ones
MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"

_SAMPLES = re.compile(
    r"chang(e|ing)(me|this|it)|replace(me|this|with)|placeholder|insertyour|your(own)?(very|super|long)*"
    r"(secret|key|admin|password)|supersecret|topsecret|notasecret|insecure|password|"
    r"example|samplekey|deadbeef|qwerty|letmein|lorem"
)


def weakness(secret: str) -> str | None:
    """Return what is weak about a secret, without a part of it; None if nothing is."""
    if len(secret) < CHARACTERS:
        return f"has fewer than {CHARACTERS} characters"
    if len(set(secret)) < _DISTINCT:
        return f"has fewer than {_DISTINCT} different characters"
    if secret in (secret + secret)[1:-1]:
        return "is one piece again and again"
    steps = [ord(after) - ord(before) for before, after in itertools.pairwise(secret)]
    if 2 * sum(step in (-1, 0, 1) for step in steps) > len(steps):
        return "is a row of characters in order"
    if _SAMPLES.search(re.sub(r"[^a-z]+", "", secret.lower())):
        return "looks like the sample of a secret"
    return None


def check_secret(secret: str) -> None:
    """Raise ValueError, with a command that makes a good secret, if this one is weak."""
    if (weak := weakness(secret)) is not None:
        raise ValueError(f"{weak}; make one with {MAKE_ONE}")
