"""Check the address and the prefix under which the outside reaches linkpool."""

from __future__ import annotations

import re

from pool.config.workspaces import check_port

_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~-]+)*/?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
# The server takes the prefix off where it stands, so no place of its own may begin with it.
_OURS = frozenset(
    ("v1", "ops", "docs", "demo", "embed", "problems", "livez", "readyz", "healthz", "metrics")
)
ROOT_MAX_CHARACTERS = 128


def checked_public_url(url: str) -> str:
    """Return the address without a slash at its end, "" for none. Raise ValueError."""
    if not url:
        return ""
    if not _URL.fullmatch(url):
        raise ValueError(
            "must be an http:// or https:// address such as https://links.example.com, with "
            "ROOT_PATH at its end where that is set"
        )
    check_port(url)
    return url.rstrip("/")


def checked_root_path(path: str) -> str:
    """Return the prefix without a slash at its end, "" for none. Raise ValueError."""
    root = path.rstrip("/")
    if not root:
        return ""
    parts = root.split("/")[1:]
    if len(root) > ROOT_MAX_CHARACTERS or not _PREFIX.fullmatch(root) or {".", ".."} & {*parts}:
        raise ValueError("must be a path such as /linkpool, of letters, digits and . _ ~ -")
    if parts[0] in _OURS:
        raise ValueError(f"must not begin with /{parts[0]}, which is a place of linkpool's own")
    return root
