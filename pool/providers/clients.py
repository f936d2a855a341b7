"""Make once what all clients of a process share, and those of the processes forked from it."""

from __future__ import annotations

import functools
import ssl
from importlib.metadata import PackageNotFoundError, version

import httpx


@functools.cache
def tls() -> ssl.SSLContext:
    """Return what verifies a provider's server. A new one takes 2 MB and 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


@functools.cache
def user_agent() -> str:
    """Return the name by which providers know us."""
    try:
        return f"linkpool/{version('linkpool')}"
    except PackageNotFoundError:  # run from a checkout
        return "linkpool/0"
