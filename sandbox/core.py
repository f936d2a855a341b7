"""The sandbox itself: everything composed, and the acts that pages and control calls share."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sandbox.answers import booking_json
from sandbox.counters import Counters
from sandbox.journal import Journal
from sandbox.knobs import Knobs, set_knobs
from sandbox.limiter import TokenBucket
from sandbox.misbehaviour import Misbehaviour
from sandbox.state import Booking, State
from sandbox.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Config:
    """What is fixed at the start. `meetings` is SID to name; empty means any SID will do."""

    public_url: str
    api_key: str
    subdomain: str = "sandbox"
    webhook_url: str | None = None
    webhook_secret: str = ""
    meetings: dict[str, str] = field(default_factory=dict)
    any_meeting: bool = False
    state_file: Path | None = None


class Sandbox:
    """One local NeetoCal. Tests hand in `http`, the client that sends webhooks."""

    def __init__(
        self,
        config: Config,
        knobs: Knobs | None = None,
        *,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.config = config
        self.knobs = knobs or Knobs()
        self.counters = Counters()
        self.limiter = TokenBucket()
        self.chance = Misbehaviour(self.knobs)
        self.any_meeting = config.any_meeting or not config.meetings
        self.journal = Journal(config.state_file)
        self.state = State(self.journal, meetings=config.meetings, any_meeting=self.any_meeting)
        self.webhooks = Webhooks(
            self.knobs,
            self.counters,
            self.chance,
            url=config.webhook_url,
            secret=config.webhook_secret,
            http=http,
        )
        self._stopping = asyncio.Event()

    def load(self) -> None:
        """Take over the state file, if there is one. Raises OSError."""
        self.state.load()

    def set_knobs(self, changes: dict[str, object]) -> None:
        """Put knobs in force. Raises KnobError; then nothing has changed."""
        set_knobs(self.knobs, changes)
        if "seed" in changes:
            self.chance.reseed()

    # -- acts

    def book(
        self,
        *,
        slug: str | None,
        meeting_sid: str | None,
        name: str,
        email: str,
        starts_at: str,
        answers: dict[str, str],
    ) -> Booking:
        """Make a booking and send its webhook. Raises Refused."""
        booking = self.state.book(
            slug=slug,
            meeting_sid=meeting_sid,
            name=name,
            email=email,
            starts_at=starts_at,
            answers=answers,
        )
        self.counters.bookings_by_meeting[booking.meeting_sid] += 1
        self.webhooks.emit("booking_created", self.booking_json(booking))
        return booking

    def cancel(self, booking_sid: str, reason: str = "Cancelled by the client") -> Booking:
        """Cancel a booking and send its webhook. Raises Refused."""
        booking = self.state.cancel(booking_sid, reason)
        self.webhooks.emit("booking_cancelled", self.booking_json(booking))
        return booking

    def reschedule(self, booking_sid: str) -> Booking:
        """Move a booking by a day and send its webhook. Raises Refused."""
        booking = self.state.reschedule(booking_sid)
        self.webhooks.emit("booking_rescheduled", self.booking_json(booking))
        return booking

    def booking_json(self, booking: Booking) -> dict[str, Any]:
        """The booking as the API and the webhooks show it."""
        meeting = self.state.meetings.get(booking.meeting_sid)
        return booking_json(
            booking,
            meeting.name if meeting else booking.meeting_sid,
            base_url=self.config.public_url,
            carries_slug=self.knobs.webhook_carries_slug,
            names_meeting_sid=self.knobs.booking_names_meeting_sid,
        )

    def is_disabled(self, sid: str) -> bool:
        """Whether the knob disabled_meetings names this meeting."""
        named = self.knobs.disabled_meetings
        return bool(named) and sid in [each.strip() for each in named.split(",")]

    # -- time and the end

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than the process is meant to live."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    def stop(self) -> None:
        """End every pause now; what hangs is answered, so that the process can end."""
        self._stopping.set()

    async def aclose(self) -> None:
        """Stop sending webhooks and close the state file."""
        self.stop()
        await self.webhooks.aclose()
        self.journal.close()
