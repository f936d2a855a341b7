"""Report a program that a machine lacks."""

from __future__ import annotations


class Lacking(Exception):
    """Raised by a trial for a program that is not on this machine, which it names."""
