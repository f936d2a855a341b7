"""Hold a measure's results: numbers with their spread, and their goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

TIMES = "×"  # noqa: RUF001 - the sign for a ratio


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that the median should keep."""

    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool:
        """Return True if the value keeps the bound."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: a value per run."""

    name: str  # stable, for programs: rate.linkpool-2.64
    title: str  # for people
    unit: str
    values: tuple[float, ...]
    goal: Goal | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Return the middle value."""
        return median(self.values)

    def as_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
            "goal": str(self.goal) if self.goal else None,
            "goal_met": self.goal.met(self.median) if self.goal else None,
            "note": self.note,
        }


def ratio(
    name: str,
    title: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    goal: Goal | None = None,
    note: str = "",
) -> Row:
    """Return ours over theirs, run by run: both of a pair were taken within the same minute."""
    values = tuple(a / b for a, b in zip(ours, theirs, strict=True) if b)
    return Row(name, title, TIMES, values or (float("nan"),), goal, note)
