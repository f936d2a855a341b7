"""Measure the claim path while operators look: ten open overviews of a thousand meetings."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import httpx

from bench.contestants.linkpool import Linkpool
from bench.loads.wrk import BadLoad, Load
from bench.measures.base import Bench, one_load
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting
from pool.access.api_keys import Scope, make_key
from pool.compose import Parts

CONNECTIONS = 64
PAGES = 10
MEETINGS = 1_000
_OPEN_SECONDS = 30.0


def measure(bench: Bench) -> list[Row]:
    """Measure rates without and with pages open, in turn, and their ratio."""
    bench.needs_wrk()
    alone: list[Load] = []
    watched: list[Load] = []
    with Stage() as stage:
        meetings = 20 if bench.options.quick else MEETINGS
        stage.open_meetings([quiet_meeting(f"looked-at-{number}") for number in range(meetings)])
        key = reading_key(stage)
        ours = Linkpool(stage, 2, bench.options.sizes.links_per_second)
        try:
            ours.start()
            for run in range(bench.options.runs):
                alone.append(one_load(bench, ours, CONNECTIONS))
                with open_pages(
                    f"http://127.0.0.1:{ours.request.port}", key, ["view=pools"] * PAGES
                ):
                    watched.append(one_load(bench, ours, CONNECTIONS))
                bench.say(
                    f"run {run + 1}: {alone[-1].rate:,.0f}/s, watched {watched[-1].rate:,.0f}/s"
                )
        finally:
            ours.stop()
    return [
        ratio(
            "ratio.rate.watched.alone",
            f"claims/s with {PAGES} open overviews of {meetings:,} meetings, against none",
            [load.rate for load in watched],
            [load.rate for load in alone],
            Goal(at_least=0.97),
            note="the pages' reader shares the cores with API, Redis and load generator",
        ),
        Row("rate.watched", "watched", "claims/s", tuple(x.rate for x in watched)),
        Row("p99.watched", "watched: p99", "ms", tuple(x.p99_ms for x in watched)),
        Row("p99.unwatched", "not watched: p99", "ms", tuple(x.p99_ms for x in alone)),
    ]


def reading_key(stage: Stage) -> str:
    """Return a new key that may look at the page."""
    key, kept = make_key(frozenset({Scope.READ.value}), None, "bench pages")

    async def add(parts: Parts) -> None:
        await parts.ledger.keys.add(kept)

    stage.work(add)
    return key


@contextmanager
def open_pages(url: str, key: str, queries: Sequence[str]) -> Iterator[None]:
    """Keep pages open as browsers do, each with a view. Raise BadLoad if one received nothing."""
    with ExitStack() as stack:
        heard = [0] * len(queries)
        limits = httpx.Limits(max_connections=None)
        client = stack.enter_context(
            httpx.Client(timeout=_OPEN_SECONDS, trust_env=False, limits=limits)
        )
        client.post(f"{url}/ops/sign-in", data={"key": key})
        for number, query in enumerate(queries):
            stream = stack.enter_context(client.stream("GET", f"{url}/ops/stream?{query}"))
            lines = stream.iter_lines()
            if not next(lines).startswith("data: {"):
                raise BadLoad("a page was not let in")

            def listen(lines: Iterator[str] = lines, number: int = number) -> None:
                try:
                    for line in lines:
                        heard[number] += line.startswith("data: {")
                except (httpx.HTTPError, httpx.StreamError):
                    return  # closed from this side, at the end

            threading.Thread(target=listen, daemon=True).start()
        yield
        if not all(heard):
            raise BadLoad(f"pages received nothing meanwhile: {heard}")
