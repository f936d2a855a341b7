"""Log one line per request that the framework serves. Claims are not among them: see tally.py.

The line names the route by its template, never by its path, which may hold a customer id or
a slug. Of requests that prove nothing only some are logged, because anybody could fill the disk
with them, or push other lines out of a log that is rotated; the next line says how many were not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import structlog
from starlette.types import Message, Scope

from pool.model.links import is_sid

log = structlog.get_logger()

# Requested every few seconds by machines, and of interest only when they fail.
_ROUTINE = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


STRANGERS_LINES = 100.0  # at once, after a pause
STRANGERS_LINES_PER_SECOND = 5.0


class Lines:
    """Decide which lines about strangers are logged."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._allowed = STRANGERS_LINES
        self._allowed_at = clock()
        self._unlogged = 0

    def take(self) -> int | None:
        """Return how many lines were left out before this one, or None if it is left out, too."""
        now = self._clock()
        more = (now - self._allowed_at) * STRANGERS_LINES_PER_SECOND
        self._allowed = min(STRANGERS_LINES, self._allowed + more)
        self._allowed_at = now
        if self._allowed < 1:
            self._unlogged += 1
            return None
        self._allowed -= 1
        unlogged, self._unlogged = self._unlogged, 0
        return unlogged


# Warnings apart, so that a flood of ordinary requests does not hide that Redis is away.
_lines = {logging.INFO: Lines(), logging.WARNING: Lines()}


class Access:
    """The log line of one request; every line logged while it is served carries its id."""

    def __init__(self, scope: Scope, request_id: bytes) -> None:
        self.scope = scope  # the framework stores the route it found in it
        self._method = scope["method"]
        self._request_id = request_id.decode()
        self._started = time.perf_counter()
        self.stranger = True  # until the gate finds a valid proof
        self._status = 0  # stays 0 if the client went away before an answer

    def note(self, message: Message) -> None:
        """Keep the status from an answer's first message."""
        if message["type"] == "http.response.start":
            self._status = message["status"]

    def __enter__(self) -> Access:
        self._tokens = structlog.contextvars.bind_contextvars(request_id=self._request_id)
        return self

    def __exit__(self, *_: object) -> None:
        route = route_of(self.scope)
        about: dict[str, Any] = {"method": self._method, "route": route}
        sid = self.scope.get("path_params", {}).get("sid", "")
        if is_sid(sid):
            about["meeting"] = sid
        seconds = round(time.perf_counter() - self._started, 4)
        level = _level(route, self._status)
        unlogged: int | None = 0
        if self.stranger and level in _lines:
            unlogged = _lines[level].take()
            if unlogged:
                about["unlogged"] = unlogged
        if unlogged is not None:
            log.log(level, "request", **about, status=self._status, seconds=seconds)
        structlog.contextvars.reset_contextvars(**self._tokens)


def route_of(scope: Scope) -> str | None:
    """Return the template of the route that was found; it holds no slug and no customer id."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path


def _level(route: str | None, status: int) -> int:
    if status >= 500:
        return logging.WARNING
    return logging.DEBUG if route in _ROUTINE else logging.INFO
