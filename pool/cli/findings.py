"""Describe one line of what `linkpool doctor` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "failed", "unreachable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked, its verdict, and what to do about it."""

    what: str
    verdict: Verdict
    text: str
    to_do: str = ""


def ok(what: str, text: str) -> Finding:
    """Return the finding that this is as it should be."""
    return Finding(what, "ok", text)


def warning(what: str, text: str, to_do: str = "") -> Finding:
    """Return the finding that this works, but should be looked at."""
    return Finding(what, "warning", text, to_do)


def failed(what: str, text: str, to_do: str = "") -> Finding:
    """Return the finding that this does not work."""
    return Finding(what, "failed", text, to_do)


def unreachable(what: str, text: str, to_do: str) -> Finding:
    """Return the finding that this does not answer."""
    return Finding(what, "unreachable", text, to_do)
