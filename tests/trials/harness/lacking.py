"""Report what a machine lacks."""

from __future__ import annotations


class Lacking(Exception):
    """A trial needs something that is not on this machine; says what."""
