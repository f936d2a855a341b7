"""Watch the parts beside supervisord while everything runs: level-triggered, every few moments.

Where the system says that a process has ended, supervisord is asked then, and otherwise seldom: its
answer is most of what an idle `up` computes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pool.up.ends import Ends
from pool.up.supervisord import ProcessState, Supervisord, Unreachable, kill_group

# supervisord lengthens its pauses by a second at each failed start, without a limit.
_LONGEST_PAUSE_SECONDS = 5
_QUIET_SECONDS = 10.0  # between two lines about one part
_LOOK_SECONDS = 0.5
_CALM_SECONDS = 5.0  # while every part runs and its end would be noticed
_AT_REST = ("STOPPED", "EXITED", "FATAL")


class Watch:
    """Keep every part running, and end what a part that died left behind."""

    def __init__(
        self, supervisord: Supervisord, log: Callable[[str], Path], say: Callable[[str], None]
    ) -> None:
        self._supervisord = supervisord
        self._log = log
        self._say = say
        self._pids: dict[str, int] = {}
        self._said: dict[str, float] = {}
        self._ends = Ends()
        self._all_run = False

    @property
    def pause_seconds(self) -> float:
        """Return how long to wait for the next look, or until one of `ended` is readable."""
        return _CALM_SECONDS if self._all_run else _LOOK_SECONDS

    @property
    def ended(self) -> Sequence[int]:
        """Return files that are readable once a part has ended."""
        return self._ends.files if self._all_run else ()

    def look(self) -> None:
        """Look once. Raise Unreachable when supervisord has ended or does not answer."""
        if not self._supervisord.alive:
            raise Unreachable("supervisord has ended")
        self._all_run = False
        parts = self.note()
        all_run = all(part.state == "RUNNING" for part in parts.values())
        self._all_run = all_run and self._ends.watch(part.pid for part in parts.values())
        for part in parts.values():
            if part.state == "BACKOFF":
                self._tell(part.name)
            stuck = part.state == "BACKOFF" and part.ended_seconds_ago >= _LONGEST_PAUSE_SECONDS
            if stuck:
                self._supervisord.stop_part(part.name)
            if stuck or part.state in _AT_REST:
                self._supervisord.start_part(part.name)

    def note(self, *, expected: bool = False) -> dict[str, ProcessState]:
        """Note the processes of the parts, and kill what an ended one left in its group.

        A group outlives its leader: a killed API leaves its workers, and with them its port.
        """
        states = self._supervisord.states()
        for part in states.values():
            before = self._pids.get(part.name, 0)
            if before and before != part.pid:
                kill_group(before, signal.SIGKILL)
                if not expected:
                    self._tell(part.name)
            self._pids[part.name] = part.pid
        return states

    def signal_all(self, how: signal.Signals) -> None:
        """Send a signal to every part that was last seen, for when supervisord cannot."""
        for pid in self._pids.values():
            if pid:
                kill_group(pid, how)

    def forget(self) -> None:
        """Forget all processes, because none runs any more."""
        self._pids.clear()
        self._ends.close()
        self._all_run = False

    def _tell(self, name: str) -> None:
        now = time.monotonic()
        if now - self._said.get(name, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._said[name] = now
            self._say(f"{name} ended unexpectedly and is started again; see {self._log(name)}")
