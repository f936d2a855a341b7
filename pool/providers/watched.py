"""Note for each call whether the provider answers, so that its silence is seen at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

from pool.errors import ProviderError, ProviderFailed
from pool.model.vitals import SILENT_SECONDS, Calls
from pool.providers.base import BookingPage, NewLink, Provider, ProviderMeeting


class Answering:
    """The record of whether a provider answers this process's calls."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way = 0
        self._asked_at: float | None = None  # the first call that got no answer so far
        self._answered_at: float | None = None

    @property
    def calls(self) -> Calls:
        """Return the record of the calls at this moment."""
        now = self._clock()
        return Calls(
            self._under_way,
            0.0 if self._asked_at is None else round(now - self._asked_at, 2),
            None if self._answered_at is None else round(now - self._answered_at, 2),
        )

    @contextmanager
    def call(self) -> Iterator[None]:
        """Note a call and whether it was answered. A refusal is an answer, too."""
        if self._asked_at is None:
            self._asked_at = self._clock()
        self._under_way += 1
        began = self._clock()
        answered = failed = False
        try:
            yield
            answered = True
        except ProviderError as error:
            answered = not isinstance(error, ProviderFailed) or error.status is not None
            failed = not answered
            raise
        finally:
            self._under_way -= 1
            # A call that was given up early proves nothing about the provider.
            given_up = not answered and not failed and self._clock() - began < SILENT_SECONDS
            if given_up and not self._under_way:
                self._asked_at = None
            if answered:
                self._answered_at = self._clock()
                # For calls still under way the silence begins now, since others were answered.
                self._asked_at = self._answered_at if self._under_way else None


class WatchedProvider:
    """A provider whose requests are noted."""

    def __init__(self, provider: Provider, answering: Answering) -> None:
        self._provider = provider
        self._answering = answering

    def __getattr__(self, name: str) -> Any:
        # Everything that makes no request: settings, signatures, parsing.
        return getattr(self._provider, name)

    async def create_link(self, meeting_sid: str) -> NewLink:
        """Make one link."""
        with self._asking("create link", meeting_sid):
            return await self._provider.create_link(meeting_sid)

    async def meetings(self) -> list[ProviderMeeting]:
        """List the meetings."""
        with self._asking("list meetings"):
            return await self._provider.meetings()

    async def bookings(
        self, page: int, *, cancelled: bool, starts_after: datetime | None = None
    ) -> BookingPage:
        """List a page of the bookings."""
        with self._asking("list bookings"):
            return await self._provider.bookings(
                page, cancelled=cancelled, starts_after=starts_after
            )

    def _asking(self, _what: str, _meeting_sid: str = "") -> AbstractContextManager[None]:
        """Return what surrounds a request, about one meeting if its SID is given."""
        return self._answering.call()
