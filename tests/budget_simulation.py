"""Run the budget's script against providers of every kind, in virtual time and without a server.

The script is the very text that Redis runs. One client keeps up to `concurrency` requests under
way, as top-up does; the provider decides when a request's latency is over.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lupa.lua51 import LuaRuntime

from pool.store import scripts

Answer = Literal["ok", "throttled", "failed"]
LATENCY_SECONDS = 0.15
SWEEP_SECONDS = 5.0
PATIENCE_MS = 2_000  # what top-up waits for a turn before it leaves the rest to the next sweep


class Limit(Protocol):
    """Decide if one more request passes now."""

    def __call__(self, now: float) -> bool:
        """Return True if the request passes."""


class TokenBucket:
    """Fill at a rate up to a second's worth."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._tokens, self._at = per_second, 0.0

    def __call__(self, now: float) -> bool:
        """Take a token if there is one."""
        gained = (now - self._at) * self.per_second
        self._tokens, self._at = min(self._tokens + gained, max(1.0, self.per_second)), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class FixedWindow:
    """Admit a number of requests in each window of the clock."""

    def __init__(self, per_second: float, window_seconds: float = 1.0) -> None:
        self.per_second = per_second
        self._seconds = window_seconds
        self._window, self._passed = -1, 0

    def __call__(self, now: float) -> bool:
        """Count the request in its window."""
        window = int(now / self._seconds)
        if window != self._window:
            self._window, self._passed = window, 0
        if self._passed >= self.per_second * self._seconds:
            return False
        self._passed += 1
        return True


class SlidingWindow:
    """Admit a number of requests in any period of this length."""

    def __init__(self, per_second: float, window_seconds: float = 1.0) -> None:
        self.per_second = per_second
        self._seconds = window_seconds
        self._passed: deque[float] = deque()

    def __call__(self, now: float) -> bool:
        """Forget what is older than the window."""
        while self._passed and self._passed[0] <= now - self._seconds:
            self._passed.popleft()
        if len(self._passed) >= self.per_second * self._seconds:
            return False
        self._passed.append(now)
        return True


@dataclass
class Provider:
    """A provider with a limit, whose calls also fail and are refused at random."""

    limit: Any
    refused: float = 0.0  # share of the calls that are answered 429 whatever their rate
    failed: float = 0.0
    retry_after_ms: int | str = ""
    seed: int = 1
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the random numbers."""
        self.chance = random.Random(self.seed)

    def answer(self, now: float) -> Answer:
        """Answer one request."""
        if not self.limit(now):
            return "throttled"
        fate = self.chance.random()
        if fate < self.refused:
            return "throttled"
        return "failed" if fate < self.refused + self.failed else "ok"


@dataclass
class Simulation:
    """One workspace's budget, its client, and its provider."""

    provider: Provider
    first_rate: float = 10.0
    concurrency: int = 16
    now: float = 1_000.0
    answers: list[tuple[float, Answer]] = field(default_factory=list)
    rates: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Load the script into an interpreter that knows two commands of Redis."""
        lua = LuaRuntime(unpack_returned_tuples=False)
        self._hash: dict[str, str] = {}
        table = lua.table_from

        def call(command: bytes | str, *arguments: Any) -> Any:
            if command == "TIME":
                seconds, part = divmod(self.now, 1)
                return table([int(seconds), int(part * 1_000_000)])
            if command == "HMGET":
                return table([self._hash.get(name, False) for name in arguments[1:]])
            assert command == "HSET"
            self._hash.update(zip(arguments[1::2], arguments[2::2], strict=True))
            return 0

        lua.globals().redis = table({"call": call})
        body: Callable[[Any, Any], Any] = lua.eval(
            f"function(KEYS, ARGV) {scripts.source('budget')}\nend"
        )
        self._table, self._body = table, body
        self._under_way: list[tuple[float, int]] = []
        self._sent = 0

    def _run(self, what: str, argument: object) -> tuple[int, float]:
        reply = self._body(
            self._table(["budget"]), self._table([what, str(self.first_rate), str(argument)])
        )
        return int(reply[1]), float(reply[2])

    def run(self, seconds: float) -> None:
        """Let time pass, and ask for links whenever the budget and the slots allow it."""
        end = self.now + seconds
        ready = self.now
        while ready < end:
            while len(self._under_way) >= self.concurrency or (
                self._under_way and self._under_way[0][0] <= ready
            ):
                ready = max(ready, self._answer())
            self.now = max(self.now, ready)
            wait_ms = self._run("take", PATIENCE_MS)[0]
            if wait_ms < 0:
                ready = self.now + SWEEP_SECONDS
                continue
            ready = self.now + wait_ms / 1000
            heapq.heappush(self._under_way, (ready + LATENCY_SECONDS, self._sent))
            self._sent += 1
        while self._under_way and self._under_way[0][0] <= end:
            self._answer()
        self.now = max(self.now, end)

    def _answer(self) -> float:
        at, _ = heapq.heappop(self._under_way)
        self.now = max(self.now, at)
        answer = self.provider.answer(self.now)
        self.answers.append((self.now, answer))
        argument = self.provider.retry_after_ms if answer == "throttled" else ""
        self.rates.append((self.now, self._run(answer, argument)[1]))
        return self.now

    def per_second(self, answer: Answer, since: float, until: float | None = None) -> float:
        """Return the number of these answers per second of a period."""
        until = self.now if until is None else until
        count = sum(since <= at < until and each == answer for at, each in self.answers)
        return count / (until - since)

    def asked_per_second(self, since: float, until: float | None = None) -> float:
        """Return the number of answered requests per second of a period."""
        until = self.now if until is None else until
        return sum(since <= at < until for at, _ in self.answers) / (until - since)

    def settled_after(self, limit: float, since: float) -> float:
        """Return the seconds until three begin in which asked and made are at about the limit."""
        start = since
        while start + 3 <= self.now:
            asked = self.asked_per_second(start, start + 3)
            made = self.per_second("ok", start, start + 3)
            if all(abs(each / limit - 1) <= 0.15 for each in (asked, made)):
                return start - since
            start += 0.1
        return self.now - since
