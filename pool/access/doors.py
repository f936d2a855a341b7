"""Count failed authentication, log it with the address, and slow those addresses down.

A door is a place that asks for proof: an API key, a webhook's signature, a key at the
page's sign-in, the metrics key, a browser's token or public key. The counts are kept in
memory, per API process.
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

Door = Literal["api", "webhook", "sign-in", "metrics", "token", "public-key"]
Headers = Iterable[tuple[bytes, bytes]]

# Failed sign-ins a minute; successful ones are not counted.
SIGN_INS = 10  # per address
SIGN_INS_IN_ALL = 120
# Per address, once all addresses together have failed that often. An address that has not failed
# is never refused, so strangers at other addresses cannot lock out somebody with a good key.
SIGN_INS_WHILE_MANY_FAIL = 3
# Unauthenticated requests a second of all addresses together, and how many are served at once
# after a pause. They take a tenth of a core at most; a site has a few of them in an hour.
IN_ALL_PER_SECOND = 100.0
AT_ONCE_IN_ALL = 100.0
LONGEST_IN_ALL_SECONDS = 20.0
# The same for scripts, which every visitor's browser loads once.
SCRIPTS_PER_SECOND = 500.0
AT_ONCE_SCRIPTS = 1000.0
REGULAR_SECONDS = 60.0  # after which a probing address is no attacker's throwaway
_FORGOTTEN_SECONDS = 600.0  # after its last probe
_PROBERS = 10_000
SENDER_SECONDS = 24 * 3600.0  # since its last genuine webhook
_SENDERS = 10_000
_WINDOW_SECONDS = 60.0
_ADDRESSES = 1_000  # whose failures are logged in one window
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
        self._sign_ins = MinuteLimit(SIGN_INS, clock)
        self._few_sign_ins = MinuteLimit(SIGN_INS_WHILE_MANY_FAIL, clock)
        self._sign_ins_in_all = MinuteLimit(SIGN_INS_IN_ALL, clock)
        self._pace = Pace(clock)
        in_all = {
            "per_second": IN_ALL_PER_SECOND,
            "at_once": AT_ONCE_IN_ALL,
            "longest_seconds": LONGEST_IN_ALL_SECONDS,
        }
        self._pace_in_all = Pace(clock, **in_all)
        # Of addresses that ask faster than each of them may, so that these delay no others.
        self._greedy = Pace(clock, **in_all)
        self._scripts = Pace(clock, per_second=SCRIPTS_PER_SECOND, at_once=AT_ONCE_SCRIPTS)
        self._probers: dict[str, tuple[float, float]] = {}  # their first probe and their last
        self._window_ends = 0.0
        self._failures: dict[tuple[Door, str], int] = {}
        self._more = False  # more addresses failed in this window than are logged
        self._senders: dict[str, float] = {}  # of genuine webhooks, and when the last one came

    def check_sign_in(self, address: str) -> None:
        """Raise RateLimited if this address failed too often to sign in."""
        who = network_of(address)
        limits = [self._sign_ins]
        if self._sign_ins_in_all.reached(_EVERYBODY):
            limits.append(self._few_sign_ins)
        waits = [each.seconds_until_free(who) for each in limits if each.reached(who)]
        if waits:
            raise RateLimited(
                "too many failed attempts; try again after Retry-After seconds",
                retry_after_seconds=max(1, round(max(waits) + 0.5)),
            )

    def failed(self, door: Door, address: str) -> None:
        """Count and log one failure."""
        who = network_of(address)
        if door == "sign-in":
            self._sign_ins.count(who)
            self._few_sign_ins.count(who)
            self._sign_ins_in_all.count(_EVERYBODY)
        self._counted(door)
        self._note(door, address, who)

    def turn(self, address: str) -> float:
        """Return the seconds that an unauthenticated caller at this address has to wait.

        A trusted address never waits: an unauthenticated caller there is a health probe, or a
        proxy that does not name its client. Others wait for the turn of their address, and for
        that of all addresses together, since an attacker may have any number of them.
        """
        if self.proxies.trusts(address):
            return 0.0
        own = self._pace.turn(network_of(address))
        return max(own, (self._greedy if own else self._pace_in_all).turn(_EVERYBODY))

    def turn_of_visitor(self, address: str) -> float:
        """Return the seconds that a visitor's browser has to wait, which may prove itself yet."""
        return 0.0 if self.proxies.trusts(address) else self._pace.turn(network_of(address))

    def turn_of_script(self, address: str) -> float:
        """Return the seconds that a browser has to wait for a script."""
        if self.proxies.trusts(address):
            return 0.0
        return max(self.turn_of_visitor(address), self._scripts.turn(_EVERYBODY))

    def turn_in_all(self, address: str) -> float:
        """Return the seconds that a visitor whose proof was wrong has to wait for the answer."""
        return 0.0 if self.proxies.trusts(address) else self._pace_in_all.turn(_EVERYBODY)

    def turn_of_probe(self, address: str) -> float:
        """Return the seconds that a probe of health or metrics has to wait.

        An address that has asked for REGULAR_SECONDS is not delayed by others: an orchestrator
        would take that for a failure, and end the process.
        """
        if self.proxies.trusts(address):
            return 0.0
        who, now = network_of(address), self._clock()
        first, last = self._probers.get(who, (now, now))
        if now - last > _FORGOTTEN_SECONDS:
            first = now
        if len(self._probers) >= _PROBERS and who not in self._probers:
            self._probers = {
                each: times
                for each, times in self._probers.items()
                if now - times[1] <= _FORGOTTEN_SECONDS and times[1] - times[0] >= REGULAR_SECONDS
            }
        if len(self._probers) < _PROBERS or who in self._probers:
            self._probers[who] = first, now
        if now - first >= REGULAR_SECONDS:
            return self._pace.turn(who)
        return self.turn(address)

    def proved(self, address: str) -> None:
        """Give its turn back to a caller that has authenticated after all."""
        self._pace.give_back(network_of(address))

    def sends_webhooks(self, address: str) -> bool:
        """Return True if a genuine webhook came from this address within SENDER_SECONDS.

        All customers of a provider get their webhooks from the same few addresses. So the wrong
        signatures of some must not delay the genuine ones of others.
        """
        last = self._senders.get(network_of(address))
        return last is not None and self._clock() - last < SENDER_SECONDS

    def genuine(self, address: str) -> None:
        """Note that a genuine webhook came from this address, and give its turn back."""
        if not self.sends_webhooks(address):
            self.proved(address)
            self._pace_in_all.give_back(_EVERYBODY)
        who = network_of(address)
        self._senders.pop(who, None)  # so that the first ones in the dict are the oldest
        self._senders[who] = self._clock()
        if len(self._senders) > _SENDERS:
            del self._senders[next(iter(self._senders))]

    def _note(self, door: Door, address: str, who: str) -> None:
        """Log the first failure of an address in a minute, the tenth, the hundredth…

        Otherwise anybody could fill the log's disk.
        """
        now = self._clock()
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW_SECONDS
            self._failures.clear()
            self._more = False
        if (door, who) not in self._failures and len(self._failures) >= _ADDRESSES:
            if not self._more:
                log.warning("authentication failed at more addresses than are logged", door=door)
            self._more = True
            return
        failures = self._failures[door, who] = self._failures.get((door, who), 0) + 1
        if failures == 10 ** (len(str(failures)) - 1):
            log.warning("authentication failed", door=door, address=address, failures=failures)
