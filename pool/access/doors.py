"""Who fails to get in: counted, logged with their address, and slowed down.

A door is where something must be proved: an API key, a webhook's signature, a key at the
page's sign-in, the metrics key. Kept in memory, per API process.
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

Door = Literal["api", "webhook", "sign-in", "metrics"]
Headers = Iterable[tuple[bytes, bytes]]

# Failures a minute; those who prove what they must are not counted.
WRONG_SIGNATURES = 60  # per address
SIGN_INS = 10  # per address
SIGN_INS_IN_ALL = 120
_WINDOW_SECONDS = 60.0
_ADDRESSES = 10_000  # of which failures are counted in one window, to log each ten-fold once
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
        """Raise RateLimited if too many failures came from this address, or from all."""
        who = network_of(address)
        for limit, by_address in self._limits.get(door, ()):
            if limit.reached(who if by_address else _EVERYBODY):
                wait = limit.seconds_until_free(who if by_address else _EVERYBODY)
                raise RateLimited(
                    "too many failed attempts; the next is looked at later",
                    retry_after_seconds=max(1, round(wait + 0.5)),
                )

    def failed(self, door: Door, address: str) -> None:
        """Count one failure."""
        who = network_of(address)
        for limit, by_address in self._limits.get(door, ()):
            limit.count(who if by_address else _EVERYBODY)
        self._counted(door)
        self._note(door, address, who)

    def turn(self, address: str) -> float:
        """Return the seconds that a stranger at this address has to wait for its turn.

        None on this machine: what is called a stranger there is a probe, or a proxy that
        does not say for whom it speaks.
        """
        if self.proxies.trusts(address):
            return 0.0
        return self._pace.turn(network_of(address))

    def proved(self, address: str) -> None:
        """Give a turn back to one who has proved something in the end."""
        self._pace.give_back(network_of(address))

    def _note(self, door: Door, address: str, who: str) -> None:
        """Log the first failure of an address in a minute, the tenth, the hundredth…

        A stranger could else fill the log's disk.
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
