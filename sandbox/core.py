"""Compose the sandbox, start it and end it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sandbox.acts import Acts
from sandbox.counters import Counters
from sandbox.journal import Journal
from sandbox.knobs import Knobs, set_knobs
from sandbox.limiter import TokenBucket
from sandbox.listing import BookingList
from sandbox.misbehaviour import Misbehaviour
from sandbox.rules import MeetingRules
from sandbox.state import State
from sandbox.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Config:
    """The settings fixed at the start. `meetings` maps SID to name; empty, any SID is accepted."""

    public_url: str
    api_key: str
    subdomain: str = "sandbox"
    webhook_url: str | None = None
    webhook_secret: str = ""
    meetings: dict[str, str] = field(default_factory=dict)
    any_meeting: bool = False
    state_file: Path | None = None


class Sandbox(Acts):
    """One local NeetoCal. Tests pass `http`, the client that sends webhooks."""

    def __init__(
        self, config: Config, knobs: Knobs | None = None, *, http: httpx.AsyncClient | None = None
    ) -> None:
        self.config = config
        self.any_meeting = config.any_meeting or not config.meetings
        self.journal = Journal(config.state_file)
        knobs = knobs or Knobs()
        counters = Counters()
        self.chance = Misbehaviour(knobs)
        super().__init__(
            knobs=knobs,
            counters=counters,
            state=State(self.journal, meetings=config.meetings, any_meeting=self.any_meeting),
            rules=MeetingRules(knobs),
            webhooks=Webhooks(
                knobs,
                counters,
                self.chance,
                url=config.webhook_url,
                secret=config.webhook_secret,
                http=http,
            ),
            public_url=config.public_url,
        )
        self.listing = BookingList(self.state)
        self.limiter = TokenBucket()
        self._stopping = asyncio.Event()

    def load(self) -> None:
        """Take over the state file, if there is one. Raise OSError."""
        self.state.load()

    def set_knobs(self, changes: dict[str, object]) -> None:
        """Put knobs in force. Raise KnobError; then nothing has changed."""
        set_knobs(self.knobs, changes)
        if "seed" in changes:
            self.chance.reseed()

    async def pause(self, seconds: float) -> None:
        """Wait for a time, or until `stop` is called."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    def stop(self) -> None:
        """End every pause now, so that hanging requests are answered and the process can end."""
        self._stopping.set()

    async def aclose(self) -> None:
        """Stop sending webhooks and close the state file."""
        self.stop()
        await self.webhooks.aclose()
        self.journal.close()
