"""Decide when a call is made again and when it is given up."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import httpx

from linkpool_client import answers
from linkpool_client.calls import Call
from linkpool_client.errors import NotReachable

# Refused before anything was done, so that even a call that is not repeatable may be made again.
_REFUSED_UNDONE = frozenset({429})
_PASSING = frozenset({429, 502, 503, 504})
# Nothing was sent yet when one of these is raised.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_BACKOFF_SECONDS = 0.1
_JITTER = 0.1  # of a wait, added to it, so that many clients do not come back at once


@dataclass(frozen=True, slots=True)
class Retries:
    """The number of repetitions of a call, and the seconds it may take with all its waits.

    A wait that would not fit into what is left of `total_seconds` is not begun: the error is
    raised at once, with its `retry_after_seconds`.
    """

    times: int = 3
    total_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.times < 0 or self.total_seconds <= 0:
            raise ValueError("Retries: times must be 0 or more, total_seconds more than 0")


class Attempts:
    """The attempts at one call: what each may take, and what comes after it."""

    def __init__(self, call: Call[Any], retries: Retries, timeout_seconds: float) -> None:
        self._call = call
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._made = 0
        self._deadline = time.monotonic() + retries.total_seconds

    def timeout_seconds(self) -> float:
        """Return what the next attempt may wait for."""
        # A hundredth of a second at least: zero would mean no waiting at all to the transport.
        return max(0.01, min(self._timeout_seconds, self._left_seconds()))

    def after_failure(self, error: httpx.RequestError) -> float:
        """Return the seconds to wait after an attempt without an answer, or raise."""
        repeatable = self._call.repeatable or isinstance(error, _NEVER_SENT)
        wait = self._wait(None) if repeatable else None
        if wait is None:
            why = str(error) or type(error).__name__
            said = f"no answer to {self._call.method} {self._call.path}: {why}"
            raise NotReachable(said) from error
        return wait

    def after_refusal(self, response: httpx.Response) -> float:
        """Return the seconds to wait after an answer that is no success, or raise."""
        passing = _PASSING if self._call.repeatable else _REFUSED_UNDONE
        wait = None
        if response.status_code in passing:
            wait = self._wait(answers.retry_after_seconds(response.headers))
        if wait is None:
            raise answers.error(response)
        return wait

    def _wait(self, asked_seconds: float | None) -> float | None:
        self._made += 1
        if self._made > self._retries.times:
            return None
        seconds = asked_seconds
        if seconds is None:
            seconds = _BACKOFF_SECONDS * 2 ** (self._made - 1)
        # No secret hangs on this.
        seconds *= 1 + _JITTER * random.random()  # noqa: S311
        return seconds if seconds < self._left_seconds() else None

    def _left_seconds(self) -> float:
        return self._deadline - time.monotonic()
