"""Count failed authentication, log it with the address, and slow those addresses down.

A door is a place that asks for proof: an API key, a webhook's signature, a key at the
page's sign-in, the metrics key, a browser's token. The counts are kept in memory, per API process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

import structlog

from pool.access.limits import MinuteLimit, network_of
from pool.access.pace import Pace
from pool.config.networks import TrustedProxies
from pool.errors import RateLimited

log = structlog.get_logger()

Door = Literal["api", "webhook", "sign-in", "metrics", "token"]
Headers = Iterable[tuple[bytes, bytes]]

# Failures a minute; successful attempts are not counted.
WRONG_SIGNATURES = 60  # per address
SIGN_INS = 10  # per address
SIGN_INS_IN_ALL = 120
_WINDOW_SECONDS = 60.0
_ADDRESSES = 10_000  # whose failures are counted in one window, for the log
_EVERYBODY = "everybody"


class Doors:
    """The doors of one API process."""

    def __init__(
        self,
        proxies: TrustedProxies,
        counted: Callable[[Door], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.proxies = proxies
        self._counted = counted
        self._clock = clock
        self._limits: dict[Door, list[tuple[MinuteLimit, bool]]] = {
            "webhook": [(MinuteLimit(WRONG_SIGNATURES, clock), True)],
            "sign-in": [
                (MinuteLimit(SIGN_INS, clock), True),
                (MinuteLimit(SIGN_INS_IN_ALL, clock), False),
            ],
        }
        self._pace = Pace(clock)
        self._window_ends = 0.0
        self._failures: dict[tuple[Door, str], int] = {}

    def check(self, door: Door, address: str) -> None:
        """Raise RateLimited if this address, or all addresses together, failed too often."""
        who = network_of(address)
        for limit, by_address in self._limits.get(door, ()):
            if limit.reached(who if by_address else _EVERYBODY):
                wait = limit.seconds_until_free(who if by_address else _EVERYBODY)
                raise RateLimited(
                    "too many failed attempts; try again after Retry-After seconds",
                    retry_after_seconds=max(1, round(wait + 0.5)),
                )

    def failed(self, door: Door, address: str) -> None:
        """Count and log one failure."""
        who = network_of(address)
        for limit, by_address in self._limits.get(door, ()):
            limit.count(who if by_address else _EVERYBODY)
        self._counted(door)
        self._note(door, address, who)

    def turn(self, address: str) -> float:
        """Return the seconds that an unauthenticated caller at this address has to wait.

        A trusted address never waits: an unauthenticated caller there is a health probe, or a
        proxy that does not name its client.
        """
        if self.proxies.trusts(address):
            return 0.0
        return self._pace.turn(network_of(address))

    def proved(self, address: str) -> None:
        """Give its turn back to a caller that has authenticated after all."""
        self._pace.give_back(network_of(address))

    def _note(self, door: Door, address: str, who: str) -> None:
        """Log the first failure of an address in a minute, the tenth, the hundredth…

        Otherwise anybody could fill the log's disk.
        """
        now = self._clock()
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW_SECONDS
            self._failures.clear()
        if (door, who) not in self._failures and len(self._failures) >= _ADDRESSES:
            return
        failures = self._failures[door, who] = self._failures.get((door, who), 0) + 1
        if failures == 10 ** (len(str(failures)) - 1):
            log.warning("authentication failed", door=door, address=address, failures=failures)
