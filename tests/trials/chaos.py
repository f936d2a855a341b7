"""Everything at once: what no single trial thought of."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from pool.meetings import Meeting
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial

_MEETINGS = 4
_CONNECTIONS = 240
_LONG = 50_000  # claims from which on a run tells how it goes, and pools are large
_SAY_SECONDS = 5.0
_WAIT_SECONDS = 60.0
_MISBEHAVIOUR: list[dict[str, float]] = [
    {},
    {"p_429": 0.3},
    {"p_500": 0.2, "p_html": 0.1, "p_empty": 0.1},
    {"p_duplicate": 0.1, "p_bad_slug": 0.1, "p_lost": 0.1},
    {"latency_seconds": 0.3},
    {"p_redirect": 0.2, "p_huge": 0.02},
]
_CALM = {name: 0.0 for knobs in _MISBEHAVIOUR for name in knobs}


@contextmanager
def crowded(seed: int) -> Iterator[Stage]:
    """Three API servers, and a provider that is quick while it behaves."""
    with Stage(
        seed=seed, proxied=False, PROVIDER_RATE="500", PROVIDER_CONCURRENCY="48", PROBE_SECONDS="1"
    ) as stage:
        stage.start_servers(3)
        stage.start_sandbox("--webhook-retry-seconds", "0.5", "--seed", str(seed))
        stage.start_worker()
        yield stage


class _Faults:
    """What breaks, and when; every kind has a rhythm of its own, all from one seed."""

    def __init__(self, stage: Stage, seed: int, crowds: list[Crowd]) -> None:
        self.stage = stage
        self.chance = random.Random(seed)
        self.crowds = crowds
        self.counts = {"Redis": 0, "API": 0, "worker": 0, "provider": 0, "bookings": 0}
        self.booked: set[str] = set()
        self._restarts: list[Future[None]] = []
        now = time.monotonic()
        self._due: list[tuple[str, Callable[[], None], tuple[float, float], float]] = []
        for name, act, between, first in (
            ("API", self.kill_server, (5.0, 20.0), 1.0),
            ("provider", self.misbehave, (3.0, 8.0), 2.0),
            ("Redis", self.kill_redis, (10.0, 10.0), 3.0),
            ("worker", self.kill_worker, (15.0, 40.0), 7.0),
            ("bookings", self.book, (0.3, 0.7), 1.0),
        ):
            self._due.append((name, act, between, now + first))

    def look(self) -> None:
        """Does what is due."""
        for number, (name, act, between, at) in enumerate(self._due):
            if time.monotonic() >= at:
                act()
                self.counts[name] += 1
                again = time.monotonic() + self.chance.uniform(*between)
                self._due[number] = (name, act, between, again)

    @property
    def all_struck(self) -> bool:
        """Whether everything broke at least once."""
        return all(self.counts.values())

    def kill_redis(self) -> None:
        """With the loss of up to its last second."""
        self.stage.kill_redis(
            down_seconds=self.chance.uniform(0, 0.3), forget_seconds=self.chance.uniform(0, 1)
        )

    def kill_server(self) -> None:
        """One of them, if all run."""
        server = self.chance.choice(self.stage.servers)
        if all(restart.done() for restart in self._restarts):
            server.kill()
            self._restarts.append(self.stage.pool.submit(server.start))

    def kill_worker(self) -> None:
        """With its children, in the middle of whatever they do."""
        self.stage.kill_worker()

    def misbehave(self) -> None:
        """The provider behaves in another way from now on."""
        self.stage.knobs(**(_CALM | self.chance.choice(_MISBEHAVIOUR)))

    def book(self) -> None:
        """A customer books; the provider tells us so by webhook."""
        claims = self.chance.choice(self.crowds).tape.claims
        if claims:
            slug = self.chance.choice(claims).slug
            with suppress(AssertionError):  # booked before
                self.stage.control("POST", "book", json={"slug": slug})
                self.booked.add(slug)

    def end(self) -> None:
        """Everything runs again, and nothing misbehaves."""
        self.stage.knobs(**_CALM)
        for restart in self._restarts:
            restart.result(_WAIT_SECONDS)


def everything(stage: Stage, seed: int, size: int) -> Outcome:
    """Redis, API servers and workers die at random, the provider misbehaves, customers claim
    and book; then every answer is held against what is left."""
    long = size >= _LONG
    stock = 1_000 if long else 100
    sids = [
        stage.open(Meeting(f"chaos-{seed}-{number}", min_fresh=stock, max_fresh=2 * stock))
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
            again=0.9,
        ).start()
        for number, sid in enumerate(sids)
    ]
    faults = _Faults(stage, seed, crowds)
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
    new = sum(not claim.reused for claim in tape.claims)
    counts = ", ".join(f"{count} {name}" for name, count in faults.counts.items())
    return Outcome(
        "chaos",
        seed,
        verdict.claims,
        sum(count for name, count in faults.counts.items() if name != "bookings"),
        verdict.violations,
        tuple(wrong),
        excused=verdict.excused,
        notes=f"{new:,} new links, {verdict.claims / seconds:,.0f} claims/s; {counts}; "
        f"{verdict.excused} answers died with their server and Redis together; "
        f"slowest answer {tape.slowest_seconds:.1f} s",
    )


def _unsettled(stage: Stage, booked: set[str]) -> int:
    """Bookings that the ledger does not know of, once the provider has told all it can."""
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
