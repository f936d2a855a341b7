"""Check the address at which the outside reaches this linkpool."""

from __future__ import annotations

import re

from pool.config.workspaces import check_port

_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~-]+)*/?")


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
