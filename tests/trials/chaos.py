"""Break everything at once, in combinations that no single trial has."""

from __future__ import annotations

import math
import random
import statistics
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from pool.model.meetings import Meeting
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial

_MEETINGS = 4
_CONNECTIONS = 240
_LONG = 50_000  # claims from which on a run tells how it goes, and pools are large
_NEW = 0.01  # the least share of new links in such a run: with fewer it says nothing of them
_SAY_SECONDS = 5.0
_WAIT_SECONDS = 60.0
# What the provider does, and for how many seconds. Then it behaves until the next time is due:
# pools that stand empty all the time would see hardly a new link, and test nothing. What slows
# everyone down long after it is over (a 429) or stops them (failures in a row) is brief.
_Kind = tuple[dict[str, float], tuple[float, float]]
_MISBEHAVIOUR: list[_Kind] = [
    ({"p_429": 0.3}, (0.2, 0.6)),
    ({"p_500": 0.2, "p_html": 0.1, "p_empty": 0.1}, (1.0, 2.0)),
    ({"p_duplicate": 0.1, "p_bad_slug": 0.1, "p_lost": 0.1}, (2.0, 5.0)),
    ({"latency_seconds": 0.3}, (2.0, 5.0)),
    ({"p_redirect": 0.2, "p_huge": 0.02}, (2.0, 5.0)),
]
_CALM = {name: 0.0 for knobs, _ in _MISBEHAVIOUR for name in knobs}
_PROBABILITIES = {name for name in _CALM if name.startswith("p_")}


@contextmanager
def crowded(seed: int) -> Iterator[Stage]:
    """Set up three API servers, and a provider that is quick while it behaves."""
    # A rate that a 429 may halve twice, and calls enough for a slow provider, before top-up
    # makes fewer links than customers come.
    with Stage(
        seed=seed, proxied=False, PROVIDER_RATE="1000", PROVIDER_CONCURRENCY="96", PROBE_SECONDS="1"
    ) as stage:
        stage.start_servers(3)
        stage.start_sandbox("--webhook-retry-seconds", "0.5", "--seed", str(seed))
        stage.start_worker()
        yield stage


class _Faults:
    """The faults of a run. Every kind has its own rhythm, and all follow from one seed."""

    def __init__(self, stage: Stage, seed: int, crowds: list[Crowd]) -> None:
        self.stage = stage
        self.chance = random.Random(seed)
        self.crowds = crowds
        self.counts = {"Redis": 0, "API": 0, "worker": 0, "provider": 0, "bookings": 0}
        self.booked: set[str] = set()
        self._restarts: list[Future[None]] = []
        self._kinds: list[_Kind] = []  # that are to come
        self._calm_at = math.inf
        now = time.monotonic()
        self._due: list[tuple[str, Callable[[], None], tuple[float, float], float]] = []
        for name, act, between, first in (
            ("API", self.kill_server, (5.0, 20.0), 1.0),
            ("provider", self.misbehave, (6.0, 10.0), 2.0),
            ("Redis", self.kill_redis, (10.0, 10.0), 3.0),
            ("worker", self.kill_worker, (15.0, 40.0), 7.0),
            ("bookings", self.book, (0.3, 0.7), 1.0),
        ):
            self._due.append((name, act, between, now + first))

    def look(self) -> None:
        """Do what is due."""
        if time.monotonic() >= self._calm_at:
            self._calm_at = math.inf
            self.stage.knobs(**_CALM)
        for number, (name, act, between, at) in enumerate(self._due):
            if time.monotonic() >= at:
                act()
                self.counts[name] += 1
                again = time.monotonic() + self.chance.uniform(*between)
                self._due[number] = (name, act, between, again)

    @property
    def all_struck(self) -> bool:
        """Return True if every kind of fault occurred at least once."""
        return all(self.counts.values())

    def kill_redis(self) -> None:
        """Kill Redis, with the loss of up to its last second."""
        self.stage.kill_redis(
            down_seconds=self.chance.uniform(0, 0.3), forget_seconds=self.chance.uniform(0, 1)
        )

    def kill_server(self) -> None:
        """Kill one of the servers, if all run."""
        server = self.chance.choice(self.stage.servers)
        if all(restart.done() for restart in self._restarts):
            server.kill()
            self._restarts.append(self.stage.pool.submit(server.start))

    def kill_worker(self) -> None:
        """Kill the worker with its children, in the middle of their work."""
        self.stage.kill_worker()

    def misbehave(self) -> None:
        """Make the provider misbehave for a while, in every way once before any comes again."""
        if not self._kinds:
            self._kinds = self.chance.sample(_MISBEHAVIOUR, len(_MISBEHAVIOUR))
        knobs, lasts = self._kinds.pop()
        self.stage.knobs(**(_CALM | knobs))
        self._calm_at = time.monotonic() + self.chance.uniform(*lasts)

    def book(self) -> None:
        """Book for a customer; the provider reports it by webhook."""
        claims = self.chance.choice(self.crowds).tape.claims
        if claims:
            slug = self.chance.choice(claims).slug
            with suppress(AssertionError):  # booked before
                self.stage.control("POST", "book", json={"slug": slug, "answers": {"ref": slug}})
                self.booked.add(slug)

    def end(self) -> None:
        """Start everything again, and end all misbehaviour."""
        self.stage.knobs(**_CALM)
        for restart in self._restarts:
            restart.result(_WAIT_SECONDS)


def everything(stage: Stage, seed: int, size: int) -> Outcome:
    """Kill Redis, API servers and workers at random and make the provider misbehave while customers
    claim and book.

    At the end every answer is compared with what is left.
    """
    long = size >= _LONG
    stock = 300 if long else 100
    sids = [
        stage.open(
            Meeting(
                f"chaos-{seed}-{number}",
                min_fresh=stock,
                max_fresh=2 * stock,
                # Who waits for a link made on the spot holds their connection: with two
                # meetings the others' customers go on meanwhile.
                on_empty="fail" if number % 2 else "direct",
            )
        )
        for number in range(_MEETINGS)
    ]
    tape = Tape()
    crowds = [
        Crowd(
            tape,
            stage.server_ports,
            sid,
            stage.key,
            seed=seed * 100 + number,
            connections=_CONNECTIONS // _MEETINGS,
            again=0.93,
            # As many as top-up can keep up with beside them on two cores; without a pause,
            # customers who come again use up the claims while the pools are empty.
            pause_seconds=0.06,
        ).start()
        for number, sid in enumerate(sids)
    ]
    faults = _Faults(stage, seed, crowds)
    before = len(stage.outages)
    started = said = time.monotonic()
    try:
        while len(tape.claims) < size or not faults.all_struck:
            faults.look()
            time.sleep(0.02)
            if long and time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                _say(tape, faults, said - started)
    finally:
        faults.end()
        for crowd in crowds:
            crowd.stop()
    seconds = time.monotonic() - started
    verdict = check(stage.evidence(tape, *sids))
    wrong = [text for crowd in crowds for text in crowd.wrong]
    unsettled = _unsettled(stage, faults.booked)
    if unsettled:
        wrong.append(f"{unsettled} bookings did not reach the ledger")
    new = _new_links(tape, [outage.died_at for outage in stage.outages[before:]])
    if long and sum(new) < _NEW * size:
        wrong.append(f"only {sum(new):,} new links: too few to test anything")
    if long and (never := _PROBABILITIES - set(stage.misbehaved())):
        wrong.append(f"the provider never did {sorted(never)}")
    counts = ", ".join(f"{count} {name}" for name, count in faults.counts.items())
    return Outcome(
        "chaos",
        seed,
        verdict.claims,
        sum(count for name, count in faults.counts.items() if name != "bookings"),
        verdict.violations,
        tuple(wrong),
        excused=verdict.excused,
        notes=f"{sum(new):,} new links, in {sum(map(bool, new))} of {len(new)} stretches between "
        f"Redis kills, {statistics.median_low(new):,} or more in half of them; "
        f"{verdict.claims / seconds:,.0f} claims/s; {counts}; "
        f"{verdict.excused} answers died with their server and Redis together; "
        f"slowest answer {tape.slowest_seconds:.1f} s",
    )


def _new_links(tape: Tape, died_at: list[float]) -> list[int]:
    """Count the new links before Redis died for the first time, from then to the second, ..."""
    counts = [0] * (len(died_at) + 1)
    for claim in tape.claims:
        if not claim.reused:
            counts[bisect(died_at, claim.at_seconds)] += 1
    return counts


def _unsettled(stage: Stage, booked: set[str]) -> int:
    """Return bookings unknown to the ledger, once the provider has reported all it can."""
    ends = time.monotonic() + _WAIT_SECONDS
    while True:
        rows = stage.rows("SELECT slug FROM links WHERE state = 'consumed'")
        missing = booked - {slug for (slug,) in rows}
        if not missing or time.monotonic() > ends:
            return len(missing)
        time.sleep(0.2)


def _say(tape: Tape, faults: _Faults, seconds: float) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in faults.counts.items())
    refused = sum(tape.refusals.values())
    print(
        f"  {seconds:5.0f} s  {len(tape.claims):>9,} answered  "
        f"{len(tape.claims) / seconds:6,.0f}/s  {refused:>7,} told to come again  {counts}",
        flush=True,
    )


TRIALS = [
    Trial("chaos", "everything at once", everything, 1_000_000, 4_000, stage=crowded),
]
