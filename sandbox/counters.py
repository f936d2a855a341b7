"""Count requests and answers, for observers outside."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

CALLS_KEPT = 2000


@dataclass(slots=True)
class Counters:
    """Counts since the start or the last reset."""

    requests: dict[str, Counter[str]] = field(default_factory=dict)
    create_by_meeting: dict[str, Counter[str]] = field(default_factory=dict)
    links_by_meeting: Counter[str] = field(default_factory=Counter)
    bookings_by_meeting: Counter[str] = field(default_factory=Counter)
    misbehaved: Counter[str] = field(default_factory=Counter)
    webhooks: Counter[str] = field(default_factory=Counter)
    creating_now: int = 0
    creating_most: int = 0
    calls: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))

    def request(self, kind: str, status: str) -> None:
        """Count one request of a path kind; `status` is `closed` if no answer was sent."""
        self.requests.setdefault(kind, Counter())[status] += 1

    def create_begins(self) -> None:
        """Count a call for a link that came in."""
        self.creating_now += 1
        self.creating_most = max(self.creating_most, self.creating_now)

    def create_ends(self, sid: str, status: str, at_seconds: float) -> None:
        """Count the answer to a call for a link that came in `at_seconds` since 1970."""
        self.creating_now -= 1
        self.create_by_meeting.setdefault(sid, Counter())[status] += 1
        self.calls.append({"at": at_seconds, "meeting_sid": sid, "status": status})

    def reset(self) -> None:
        """Set everything to zero, apart from the calls under way."""
        for counts in (
            self.requests,
            self.create_by_meeting,
            self.links_by_meeting,
            self.bookings_by_meeting,
            self.misbehaved,
            self.webhooks,
            self.calls,
        ):
            counts.clear()
        self.creating_most = self.creating_now

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON, without the single calls."""
        return {
            "requests": {kind: dict(counts) for kind, counts in self.requests.items()},
            "links_made": self.links_by_meeting.total(),
            "bookings_made": self.bookings_by_meeting.total(),
            "per_meeting": {
                sid: {
                    "links_made": self.links_by_meeting[sid],
                    "bookings_made": self.bookings_by_meeting[sid],
                    "create_requests": dict(self.create_by_meeting.get(sid, {})),
                }
                for sid in sorted(
                    {*self.links_by_meeting, *self.bookings_by_meeting, *self.create_by_meeting}
                )
            },
            "misbehaved": dict(self.misbehaved),
            "create_in_flight": self.creating_now,
            "create_in_flight_most": self.creating_most,
            "webhooks": dict(self.webhooks),
        }
