"""Turn what happens at the desk into hints for the workers and into metrics."""

from __future__ import annotations

from pool.api.claim_path.tally import Tally
from pool.durability.fence_watch import FenceWatch
from pool.model.meetings import Meeting
from pool.nudges import RECORD, RECOVER, TOP_UP, Nudges


class DeskListener:
    """Turn the desk's events into hints for the workers and into metrics."""

    def __init__(self, nudges: Nudges, tally: Tally, watch: FenceWatch) -> None:
        self._nudges = nudges
        self._watch = watch
        self.batch = tally.batch_size
        self.outcome = tally.outcome

    def claimed(self, meeting: Meeting) -> None:
        """Hint that there is a claim to record, because a new link was bound."""
        self._nudges.send(RECORD, sid=meeting.sid)

    def low(self, meeting: Meeting) -> None:
        """Hint that the pool is below its target."""
        self._nudges.send(TOP_UP, workspace=meeting.workspace)

    def fenced(self, sid: str) -> None:
        """Note that the fence has fallen, and ask the workers to recover the pool."""
        self._watch.fallen(sid)
        self._nudges.send(RECOVER)
