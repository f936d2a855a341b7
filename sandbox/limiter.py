"""Limit how many links per second the sandbox makes before it answers 429."""

from __future__ import annotations


class TokenBucket:
    """A bucket that fills at a rate and gives one token per link.

    Rate and size are passed at each call, so that a changed knob counts from the next call on.
    """

    def __init__(self) -> None:
        self._tokens: float | None = None
        self._at_seconds = 0.0

    def take(self, now_seconds: float, *, per_second: float, burst: int) -> bool:
        """Return True if a link may be made. `per_second` 0: always; burst 0: a second's worth."""
        if per_second <= 0:
            self._tokens = None  # the next limit starts with a full bucket
            return True
        size = float(burst) if burst > 0 else max(1.0, per_second)
        if self._tokens is None:
            self._tokens = size
        else:
            gained = (now_seconds - self._at_seconds) * per_second
            self._tokens = min(size, self._tokens + gained)
        self._at_seconds = now_seconds
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
