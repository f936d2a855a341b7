"""Define a trial, and its outcome."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from tests.trials.harness.checker import Violation
from tests.trials.harness.stages import ordinary


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a trial. `wrong` holds what the trial itself found, besides the checker."""

    number: str
    seed: int
    operations: int
    faults: int
    violations: tuple[Violation, ...] = ()
    wrong: tuple[str, ...] = ()
    excused: int = 0  # answered by a process that died together with Redis
    notes: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Return True if every promise was kept."""
        return not self.violations and not self.wrong

    def line(self) -> str:
        """Return the outcome on one line."""
        found = len(self.violations) + len(self.wrong)
        verdict = "pass" if self.passed else "FAIL"
        return (
            f"trial {self.number:>5}  seed {self.seed:<6} operations {self.operations:>8,}  "
            f"faults {self.faults:>6,}  violations {found:>3}  {verdict}  "
            f"{self.seconds:.0f} s  {self.notes}"
        )

    def complaints(self) -> str:
        """Return all findings, kind by kind, each with its first cases."""
        lines = [f"- {text}" for text in self.wrong[:10]]
        kinds = Counter(violation.kind for violation in self.violations)
        for kind, count in kinds.items():
            lines.append(f"- {count} of: {kind}")
            first = [each for each in self.violations if each.kind is kind][:5]
            lines += [f"    {each.meeting} {each.slug}: {each.detail}" for each in first]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial, the size the table asks for, and the size that a test suite has time for.

    `run(stage, seed, size)`; the same seed asks for the same schedule of faults. Trials with
    the same `stage` may share one, one after the other.
    """

    number: str
    title: str
    run: Callable[[Any, int, int], Outcome]
    full: int
    bounded: int  # 0: the suite does not run it; its module says why
    stage: Callable[[int], AbstractContextManager[Any]] = ordinary

    def on(self, stage: Any, seed: int, size: int) -> Outcome:
        """Run once and time it. An error in the trial itself is an outcome, too."""
        started = time.monotonic()
        try:
            outcome = self.run(stage, seed, size)
        except Exception as error:  # noqa: BLE001 - shown, and counted as a failure
            wrong = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            outcome = Outcome(self.number, seed, 0, 0, wrong=(wrong,))
        return replace(outcome, seconds=time.monotonic() - started)


def table(outcomes: list[Outcome], titles: Mapping[str, str]) -> str:
    """Return the outcomes as a Markdown table."""
    rows = [
        "| trial | what | seed | operations | faults | violations | verdict | notes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        found = len(each.violations) + len(each.wrong)
        rows.append(
            f"| {each.number} | {titles.get(each.number, '')} | {each.seed} "
            f"| {each.operations:,} | {each.faults:,} | {found} "
            f"| {'pass' if each.passed else '**FAIL**'} | {each.notes} |"
        )
    return "\n".join(rows)
