"""Show the live picture until q is pressed: `linkpool status --watch`."""

from __future__ import annotations

import asyncio
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live

from pool.claims.known_meetings import KnownMeetings
from pool.cli.screen import View, screen
from pool.compose import Parts
from pool.errors import LedgerError
from pool.ledger import Ledger
from pool.operations.reader import Reader
from pool.operations.snapshot import LedgerHealth
from pool.operations.trends import Trends
from pool.store.ending import end_tasks

READ_SECONDS = 1.0
_LEDGER_EVERY_SECONDS = 10.0
_LEDGER_PATIENCE_SECONDS = 1.0
DRAW_SECONDS = 0.25  # so that a new size of the terminal, and the age of the data, show at once
_SPARKS = 60  # for as many meetings as a tall terminal shows
_QUIT = ("q", "Q", "\x03", "\x04")


async def watch(parts: Parts) -> None:
    """Show changes live until q is pressed. If Redis is away, show that and go on."""
    known_meetings = KnownMeetings(parts.store, parts.ledger)
    reader = Reader(parts.store, known_meetings, parts.settings, every_seconds=READ_SECONDS)
    ledger = LedgerWatch(parts.ledger)
    trends = Trends(parts.store)
    console = Console()
    with _keys() as quit_pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        await known_meetings.refresh()
        view = await _read(reader, ledger, trends, parts)
        reading: asyncio.Task[View] | None = None
        while not quit_pressed.is_set():
            if reading is None:
                reading = asyncio.create_task(_next(known_meetings, reader, ledger, trends, parts))
            elif reading.done():
                view, reading = reading.result(), None
            view = View(view.snapshot, view.sparks, view.sweep_seconds, datetime.now(UTC))
            live.update(screen(view, console.width, console.height), refresh=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(quit_pressed.wait(), DRAW_SECONDS)
        if reading is not None:
            reading.cancel()
    await reader.close()
    await ledger.close()


async def _next(
    known_meetings: KnownMeetings, reader: Reader, ledger: LedgerWatch, trends: Trends, parts: Parts
) -> View:
    await asyncio.sleep(READ_SECONDS)
    await known_meetings.refresh()
    return await _read(reader, ledger, trends, parts)


async def _read(reader: Reader, ledger: LedgerWatch, trends: Trends, parts: Parts) -> View:
    snapshot = replace(await reader.latest(), ledger=await ledger.look())
    sparks = await trends.of([each.meeting.sid for each in snapshot.found[:_SPARKS]])
    return View(snapshot, sparks, parts.settings.sweep_seconds, snapshot.at)


class LedgerWatch:
    """Asks the ledger every few seconds, and never waits long for its answer."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asked_at = -_LEDGER_EVERY_SECONDS
        self._health = LedgerHealth()
        self._task: asyncio.Task[LedgerHealth] | None = None

    async def look(self) -> LedgerHealth:
        """Return the ledger's last answer, or how long it has not answered."""
        now = time.monotonic()
        if self._task is None and now - self._asked_at >= _LEDGER_EVERY_SECONDS:
            self._asked_at = now
            self._task = asyncio.create_task(self._ask())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_LEDGER_PATIENCE_SECONDS)
            if self._task.done():
                self._health, self._task = self._task.result(), None
            else:
                silent_seconds = time.monotonic() - self._asked_at
                return LedgerHealth(f"no answer for {silent_seconds:.0f} s")
        return self._health

    async def _ask(self) -> LedgerHealth:
        try:
            return LedgerHealth(unmatched=await self._ledger.inbox.count("unmatched"))
        except LedgerError as error:
            return LedgerHealth(str(error))

    async def close(self) -> None:
        """End the question that is under way."""
        await end_tasks([self._task] if self._task is not None else [])


@contextmanager
def _keys() -> Iterator[asyncio.Event]:
    """Yield an event that is set when q is pressed; meanwhile keys are not echoed.

    Without a keyboard the event is never set, and only Ctrl-C ends the picture.
    """
    pressed = asyncio.Event()
    if not sys.stdin.isatty():
        yield pressed
        return
    loop, door = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if any(key in _QUIT for key in sys.stdin.read(1)):
            pressed.set()

    before: list[Any] = termios.tcgetattr(door)
    tty.setcbreak(door)
    loop.add_reader(door, read)
    try:
        yield pressed
    finally:
        loop.remove_reader(door)
        termios.tcsetattr(door, termios.TCSADRAIN, before)
