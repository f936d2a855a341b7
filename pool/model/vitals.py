"""Define the pulse that each process sends every second, so that its silence is noticed."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["api", "worker"]
BEAT_SECONDS = 1.0
# A process without a pulse for this long is frozen, dead, or cut off.
SILENT_SECONDS = 2.25
# A process that was silent for this long will not come back; others may have replaced it.
GONE_SECONDS = 60.0


class Calls(msgspec.Struct, frozen=True):
    """One process's calls to a provider, as far as they tell whether the provider answers."""

    under_way: int
    silent_seconds: float  # since the first call that got no answer; 0.0 while calls are answered
    answered_seconds: float | None  # since the last answer; None before the first


class Pulse(msgspec.Struct, frozen=True):
    """The state of one process, as it reports it every second."""

    role: Role
    host: str
    calls: dict[str, Calls] = {}  # by workspace


class HeardPulse(msgspec.Struct, frozen=True):
    """The last pulse of a process, and how long ago it was, by Redis's clock."""

    process: str
    pulse: Pulse
    age_seconds: float


class Heard(msgspec.Struct, frozen=True):
    """All pulses, and the counts of what visitors got, in one reading from Redis."""

    now_ms: int
    pulses: tuple[HeardPulse, ...]
    swept_ms: int | None  # when a worker last ran a sweep
    totals: dict[str, int]  # of all meetings, by name: pool.model.outcomes
    always: bool = True  # False: no worker ever had a pulse here; older releases have none

    def silent(self, role: Role) -> list[HeardPulse]:
        """Return the processes of this role that should speak and do not."""
        return [
            each
            for each in self.pulses
            if each.pulse.role == role and SILENT_SECONDS < each.age_seconds < GONE_SECONDS
        ]

    def speaking(self, *roles: Role) -> list[HeardPulse]:
        """Return the processes of these roles that speak."""
        return [
            each
            for each in self.pulses
            if each.pulse.role in roles and each.age_seconds <= SILENT_SECONDS
        ]

    def asking(self, workspace: str) -> list[tuple[Calls, float]]:
        """Return the calls of each process that speaks to this provider, and the pulse's age."""
        return [
            (each.pulse.calls[workspace], each.age_seconds)
            for each in self.speaking("api", "worker")
            if workspace in each.pulse.calls
        ]

    def unanswered_seconds(self, workspace: str) -> float:
        """Return the seconds for which a provider has answered no process; 0 while it answers.

        An answer to any process ends the silence for all.
        """
        calls = self.asking(workspace)
        # A process that misses its beats hears no answer, which says nothing of the provider.
        silent = max(
            (
                one.silent_seconds + min(age, BEAT_SECONDS)
                for one, age in calls
                if one.silent_seconds
            ),
            default=0.0,
        )
        answered = min(
            (
                each.answered_seconds + age
                for each, age in calls
                if each.answered_seconds is not None
            ),
            default=float("inf"),
        )
        return 0.0 if answered < silent else silent
