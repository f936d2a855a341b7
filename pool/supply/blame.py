"""Decide whether one meeting or its whole workspace is to blame when a link is not made. No I/O.

A refusal or a lasting failure first concerns its meeting only: the neighbours go on. The
workspace is blamed where the API key is refused, or where several meetings that were well
until then fail in the same way, and they are more than half of those that were tried lately.
Meetings that are blocked already and only probed say nothing about their workspace, and
neither do links made on the spot: those are asked for where pools are empty, which is where
something is wrong. So only top-up, which knows how many meetings there are, may blame it.

A provider that fails now and then, for every meeting, causes rows of failures that are no meeting's
fault. So the share of its calls that usually fail is kept, and a row proves something only if that
share does not explain it.

Failures at the same time are one observation: a provider that closes its idle connections, or whose
balancer is started anew, fails all requests that are under way. So passing failures prove something
only once a request has failed that began after the first of them was known.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto

from pool.errors import MeetingRefused, ProviderError, Throttled, WorkspaceRefused

# After this many failures in a row it is no longer bad luck: the provider is down, or none of its
# answers can be used (say, the same slug again and again) ...
FAILURES_TO_BLOCK = 8
# ... and fewer are enough while the neighbours get links: it is not the provider that is down.
OWN_FAILURES_TO_BLOCK = 3
SUSPECT_FAILURES = 2  # in a row: from then on the meeting is tried one link at a time
OTHERS_LINKS = 3  # that the neighbours got since the first of the failures
OTHERS_LINKS_UNTHROTTLED = 10  # the same for 429s, which chance and pace also cause
ALIKE_TO_BLOCK = 3  # meetings that fail in the same way
TRIED_LATELY = 10  # meetings, of which those that fail alike must be more than half
SUSPECT_ODDS = 0.01  # a row of failures with less than this probability makes a meeting suspect ...
BLOCK_ODDS = 1e-6  # ... and one with less than this is no coincidence
_MOST_USUAL = 0.8  # a share of failures above this explains no row
_USUAL_OVER = 100  # the usual share is a mean over this many links
_SURE_AFTER = 40  # links and failures; before that the share counts for less


class Blame(Enum):
    """The one to whom a failure is attributed."""

    NOBODY = auto()  # it may have been coincidence
    MEETING = auto()
    WORKSPACE = auto()


@dataclass(slots=True)
class _Streak:
    """The failures of one meeting since it last got a link."""

    links: int  # of all meetings, when it began
    failures: int = 0
    began_at: int = 0  # the number of its first failure, among all that were seen
    throttled: int = 0  # 429s in a row
    links_unthrottled: int = 0  # of all meetings, when those began
    others_throttled: int = 0  # 429s of meetings that are well otherwise, when those began
    blamed: bool = False


class Troubles:
    """The failures that one process has seen in one workspace, by meeting."""

    def __init__(self) -> None:
        self._streaks: dict[str, _Streak] = {}
        self._well: set[str] = set()  # got a link when they were last tried
        self._lately: OrderedDict[str, str] = OrderedDict()  # newest last; "" is a link
        self._links = 0
        self._throttled_though_well = 0
        self._won = 0.0  # links, and the failures before each of them, fading
        self._lost = 0.0
        self._row = 0  # failures in a row, of all meetings, that may pass
        self._row_began_at = 0  # the number of the first of them
        self.seen = 0  # failures so far

    def worked(self, sid: str) -> None:
        """Note that a meeting got a new link."""
        self._links += 1
        streak = self._streaks.pop(sid, None)
        fading = 1 - 1 / _USUAL_OVER
        self._won = self._won * fading + 1
        self._lost *= fading
        if streak is not None and not streak.blamed:
            self._lost += streak.failures + streak.throttled
        self._row = self._row_began_at = 0
        self._well.add(sid)
        self._note(sid, "")

    def failed(
        self,
        sid: str,
        kind: str,
        *,
        final: bool,
        meetings: int | None,
        probe: bool = False,
        seen: int | None = None,
    ) -> Blame:
        """Note a failure. Return whom it is attributed to.

        `final`: asking again would not help. `meetings` is how many the workspace has, or None
        if the workspace may not be blamed. `seen` is how many failures had been seen when the
        request began, or None if all had.
        """
        self._well.discard(sid)
        seen = self.seen if seen is None else seen
        self.seen += 1
        streak = self._streak(sid)
        streak.failures += 1
        streak.began_at = streak.began_at or self.seen
        if meetings is not None and not probe:
            self._note(sid, kind)
            if not final:
                self._row += 1
                self._row_began_at = self._row_began_at or self.seen
            chance = not final and (
                self._row < self._unusual(1, BLOCK_ODDS) or seen < self._row_began_at
            )
            if self._is_common(kind, meetings) and not chance:
                self._lately.clear()  # once the block is lifted, evidence is gathered anew
                return Blame.WORKSPACE
        enough = OWN_FAILURES_TO_BLOCK if self.is_own(sid) else FAILURES_TO_BLOCK
        proves = seen >= streak.began_at and streak.failures >= self._unusual(enough, BLOCK_ODDS)
        if final or proves:
            streak.blamed = True
            return Blame.MEETING
        return Blame.NOBODY

    def throttled(self, sid: str) -> Blame:
        """Note a 429. Return whom it is attributed to.

        That is nobody, as the pace is too high, unless this meeting alone gets nothing else.
        """
        streak = self._streak(sid)
        if sid in self._well:
            self._well.discard(sid)
            self._throttled_though_well += 1
        if not streak.throttled or streak.others_throttled != self._throttled_though_well:
            streak.throttled = 0
            streak.links_unthrottled = self._links
            streak.others_throttled = self._throttled_though_well
        streak.throttled += 1
        others = self._links - streak.links_unthrottled
        if streak.throttled < OWN_FAILURES_TO_BLOCK or others < OTHERS_LINKS_UNTHROTTLED:
            return Blame.NOBODY
        streak.blamed = True
        return Blame.MEETING

    def is_own(self, sid: str) -> bool:
        """Return True if the other meetings got links since this one began to fail."""
        streak = self._streaks.get(sid)
        return streak is not None and self._links - streak.links >= OTHERS_LINKS

    def is_suspect(self, sid: str) -> bool:
        """Return True if the meeting was tried more than once lately and got no link."""
        streak = self._streaks.get(sid)
        if streak is None:
            return False
        row = max(streak.failures, streak.throttled)
        return streak.blamed or row >= self._unusual(SUSPECT_FAILURES, SUSPECT_ODDS)

    def is_blamed(self, sid: str) -> bool:
        """Return True if a failure was attributed to the meeting since it last got a link."""
        streak = self._streaks.get(sid)
        return streak is not None and streak.blamed

    def _unusual(self, at_least: int, odds: float) -> int:
        """Return how many failures in a row the usual share of failures does not explain."""
        usual = min(_MOST_USUAL, self._lost / (self._won + self._lost + _SURE_AFTER))
        return max(at_least, math.ceil(math.log(odds) / math.log(usual))) if usual else at_least

    def _streak(self, sid: str) -> _Streak:
        return self._streaks.setdefault(sid, _Streak(self._links))

    def _note(self, sid: str, kind: str) -> None:
        self._lately.pop(sid, None)
        self._lately[sid] = kind
        if len(self._lately) > TRIED_LATELY:
            self._lately.popitem(last=False)

    def _is_common(self, kind: str, meetings: int) -> bool:
        tried = len(self._lately)
        alike = sum(each == kind for each in self._lately.values())
        enough = min(TRIED_LATELY, max(ALIKE_TO_BLOCK, meetings))
        return alike >= ALIKE_TO_BLOCK and 2 * alike > tried and tried >= enough


def kind_of(error: ProviderError) -> str:
    """Return a failure's kind. Refusals of one status are alike, and so are passing failures."""
    if isinstance(error, WorkspaceRefused):
        return "key"
    if isinstance(error, MeetingRefused):
        return f"refused-{error.status}"
    return "throttled" if isinstance(error, Throttled) else error.outcome
