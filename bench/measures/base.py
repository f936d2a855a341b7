"""Give all measures what they need, and run the rounds in which contestants take turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.contestants import webdis as webdis_peer
from bench.contestants.base import Contestant
from bench.contestants.linkpool import Linkpool
from bench.contestants.noop import Noop
from bench.contestants.obvious import Obvious
from bench.contestants.sql_pool import SqlPool
from bench.contestants.webdis import Webdis
from bench.loads.request import Request
from bench.loads.wrk import BadLoad, Load, available, wrk
from bench.options import Options
from bench.postgres import NoPostgres, Postgres
from bench.rows import Row
from bench.stage import Stage


class Missing(Exception):
    """A measure cannot be taken here; the message says what is not installed."""


@dataclass(slots=True)
class Bench:
    """One run of the program: options, and what could not be measured."""

    options: Options
    missing: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print the progress."""
        sys.stderr.write(f"[{time.monotonic() - self.started:6.0f} s] {text}\n")
        sys.stderr.flush()

    def lack(self, text: str) -> None:
        """Note once that something is left out."""
        if text not in self.missing:
            self.missing.append(text)
            self.say(text)

    def some(self, names: Sequence[str], quick: int = 2) -> Sequence[str]:
        """Return all of these contestants, or the first few of them in a quick run."""
        return names[:quick] if self.options.quick else names

    def needs_wrk(self) -> None:
        """Raise Missing if wrk is not installed."""
        if not available():
            raise Missing("wrk is not installed (Debian, Ubuntu, Homebrew: package wrk)")


Rounds = dict[str, dict[int, list[Load]]]  # contestant, connections: a load per run


@contextmanager
def field_of(bench: Bench, stage: Stage, names: Sequence[str]) -> Iterator[list[Contestant]]:
    """Start the contestants of these names, leaving out those that cannot be had here."""
    sizes = bench.options.sizes
    with ExitStack() as stack:
        chosen: list[Contestant] = []
        for name in names:
            kind, _, number = name.rpartition("-")
            workers = int(number) if number.isdigit() else 1
            contestant: Contestant
            if name == "webdis":
                if not webdis_peer.available():
                    bench.lack("webdis is not installed: it is left out (Debian: package webdis)")
                    continue
                contestant = Webdis(stage, sizes.links_per_second)
            elif kind == "linkpool":
                contestant = Linkpool(stage, workers, sizes.links_per_second)
            elif kind == "obvious":
                contestant = Obvious(stage, workers, sizes.links_per_second)
            elif kind == "sql":
                try:
                    postgres = stack.enter_context(Postgres())
                except NoPostgres as error:
                    bench.lack(f"no SQL pool: {error}")
                    continue
                contestant = SqlPool(stage, postgres, workers, sizes.links_per_second_sql)
            else:
                contestant = Noop(stage, workers, as_api=kind == "noop-api")
            chosen.append(contestant)
        with ThreadPoolExecutor() as threads:
            try:
                list(threads.map(lambda each: each.start(), chosen))
                yield chosen
            finally:
                list(threads.map(lambda each: each.stop(), chosen))


def take_turns(bench: Bench, field: Sequence[Contestant], connections: Sequence[int]) -> Rounds:
    """Load the contestants in turn, A B A B, for each number of connections, run by run."""
    rounds: Rounds = {contestant.name: {each: [] for each in connections} for contestant in field}
    for run in range(bench.options.runs):
        for each in connections:
            for contestant in field:
                load = one_load(bench, contestant, each)
                rounds[contestant.name][each].append(load)
                bench.say(
                    f"run {run + 1}: {contestant.name}, {each} connections: "
                    f"{load.rate:,.0f}/s, p50 {load.p50_ms:.2f} ms, p99 {load.p99_ms:.2f} ms"
                )
    return rounds


def one_load(bench: Bench, contestant: Contestant, connections: int) -> Load:
    """Load once, after a short load that warms up. Raise BadLoad if fewer links went than claims
    were answered: then something else was measured.
    """
    options = bench.options
    contestant.refill(options.seconds + 1)
    threads = options.wrk_threads
    warm_up(bench, contestant.request, connections)
    before = contestant.level()
    load = wrk(
        contestant.request, connections=connections, seconds=options.seconds, threads=threads
    )
    after = contestant.level()
    if before is not None and after is not None and before - after < load.requests * 0.99:
        raise BadLoad(f"{contestant.name}: {load.requests} answers, {before - after} links given")
    return load


def warm_up(bench: Bench, request: Request, connections: int, meetings: int = 0) -> None:
    """Load for a second that is not counted; not at all in a quick run."""
    if not bench.options.quick:
        threads = bench.options.wrk_threads
        wrk(request, connections=connections, seconds=1, threads=threads, meetings=meetings)


def load_rows(field: Sequence[Contestant], rounds: Rounds) -> list[Row]:
    """Return rate and latencies of every contestant."""
    rows = []
    for contestant in field:
        for connections, loads in rounds[contestant.name].items():
            title = f"{contestant.title}, {connections} connections"
            tail = f"{contestant.name}.{connections}"
            rows += [
                Row(f"rate.{tail}", f"{title}: rate", "claims/s", tuple(x.rate for x in loads)),
                Row(f"p50.{tail}", f"{title}: p50", "ms", tuple(x.p50_ms for x in loads)),
                Row(f"p99.{tail}", f"{title}: p99", "ms", tuple(x.p99_ms for x in loads)),
            ]
    return rows
