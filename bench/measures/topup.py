"""Measure top-up against a provider with a limit: its rate, its 429s, and how fast it finds a new
limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from bench.measures.base import Bench
from bench.rows import TIMES, Goal, Row
from bench.stage import Stage
from pool.model.meetings import Meeting

SID = "bench-topup"
LIMIT, LOWER = 20.0, 5.0
LATENCY_SECONDS = 0.15
WINDOW_SECONDS = 3.0
TOLERANCE = 0.15
_POLL_SECONDS = 5.0  # the sandbox keeps its last 2000 calls, far more than come meanwhile


@dataclass(frozen=True, slots=True)
class Call:
    """One call for a link, as the sandbox saw it."""

    at: float
    status: str


def measure(bench: Bench) -> list[Row]:
    """Measure rate and share of 429 in steady state, and the seconds to settle after a change."""
    sizes = bench.options.sizes
    rates, refused, down, up = [], [], [], []
    for run in range(bench.options.runs):
        with topping_up(LIMIT) as sandbox:
            sandbox.follow(sizes.top_up_warm_seconds)
            since = time.time()
            sandbox.follow(sizes.top_up_seconds)
            calls = [call for call in sandbox.calls if call.at >= since]
            made = sum(call.status.startswith("2") for call in calls)
            rates.append(made / (time.time() - since) / LIMIT)
            limited = sum(call.status == "429" for call in calls)
            refused.append(100 * limited / max(1, len(calls)))
            down.append(sandbox.settle(LOWER, sizes.settle_seconds))
            up.append(sandbox.settle(LIMIT, sizes.settle_seconds))
            bench.say(
                f"run {run + 1}: {rates[-1]:.1%} of the rate, {refused[-1]:.1f} % refused, "
                f"settled in {down[-1]:.1f} s down, {up[-1]:.1f} s up"
            )
    to_settle = (
        f"seconds until {WINDOW_SECONDS:g} s within ±{TOLERANCE:.0%} of the new limit begin; "
        f"{sizes.settle_seconds} means never"
    )
    return [
        Row(
            "topup.rate",
            f"share of an allowed {LIMIT:g} links/s that top-up makes, latency 150 ms",
            TIMES,
            tuple(rates),
            Goal(at_least=0.95),
        ),
        Row("topup.refused", "calls answered 429", "%", tuple(refused), Goal(at_most=1.0)),
        Row("topup.down", "limit 20/s → 5/s", "s", tuple(down), Goal(at_most=10), to_settle),
        Row("topup.up", "limit 5/s → 20/s", "s", tuple(up), Goal(at_most=10), to_settle),
    ]


@contextmanager
def topping_up(limit: float, *flags: str) -> Iterator[Watch]:
    """Run what tops up a pool without end, and yield what follows it, from the first call on."""
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        stage.open_meetings([Meeting(SID, min_fresh=100_000, max_fresh=100_000)])
        stack.enter_context(
            stage.sandbox(
                *("--latency-seconds", str(LATENCY_SECONDS)),
                *("--limit-per-second", str(limit)),
                *flags,
            )
        )
        stack.enter_context(stage.worker())
        stack.enter_context(stage.beat())
        sandbox = Watch(f"http://127.0.0.1:{stage.sandbox_port}")
        sandbox.until_first_call()
        yield sandbox


class Watch:
    """Follows the sandbox's calls for links."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10)
        self.calls: list[Call] = []

    def until_first_call(self, within_seconds: float = 60.0) -> None:
        """Wait until top-up has begun. Raise TimeoutError."""
        deadline = time.monotonic() + within_seconds
        while not self._poll():
            if time.monotonic() > deadline:
                raise TimeoutError("top-up made no call")
            time.sleep(0.1)

    def follow(self, seconds: float) -> None:
        """Collect calls for some seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_SECONDS))
            self._poll()

    def settle(self, limit: float, seconds: float) -> float:
        """Set a new limit and follow. Return the seconds until the rate has settled, at most
        `seconds`.
        """
        answer: Any = self._http.patch("/_control/knobs", json={"limit_per_second": limit})
        answer.raise_for_status()
        since = time.time()
        self.follow(seconds)
        after = [Call(call.at - since, call.status) for call in self.calls if call.at >= since]
        return settled_after(after, limit, seconds)

    def _poll(self) -> int:
        """Append what is new. Return the number of calls known."""
        last = self.calls[-1].at if self.calls else 0.0
        for call in self._http.get("/_control/calls").json()["calls"]:
            if call["at"] > last:
                self.calls.append(Call(call["at"], call["status"]))
        self.calls.sort(key=lambda call: call.at)
        return len(self.calls)


def settled_after(calls: Sequence[Call], limit: float, seconds: float) -> float:
    """Return when the first window begins in which links were asked for, and made, at about the
    limit.

    Asked for as well: a provider that refuses the rest makes its limit whatever it is sent.
    """
    start = 0.0
    while start + WINDOW_SECONDS <= seconds:
        within = [call for call in calls if start <= call.at < start + WINDOW_SECONDS]
        made = sum(call.status.startswith("2") for call in within)
        if all(
            abs(count / WINDOW_SECONDS / limit - 1) <= TOLERANCE for count in (len(within), made)
        ):
            return start
        start += 0.1
    return seconds
