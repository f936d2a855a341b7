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


def unreachable(what: str, text: str, setting: str, *, answers: bool = False) -> Finding:
    """Return the finding that this does not answer, or that it `answers` only to refuse."""
    running = f"Is it running? See {setting}."
    to_do = "It answers and refuses: see its own log." if answers else running
    return Finding(what, "unreachable", text, to_do)
