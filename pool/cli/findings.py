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
