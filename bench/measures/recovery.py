"""Measure the time from a fallen fence to claims served again, with very many live bindings in the
ledger, and with very many meetings.

Redis is killed and comes back from its file: another process, so every pool is loaded anew.
The ledger is SQLite; worker, beat, sandbox and API run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from bench.many import open_many
from bench.measures.base import Bench
from bench.measures.probe import until_claimed
from bench.rows import Goal, Row
from bench.stage import Stage, quiet_meeting
from pool.compose import Parts
from pool.ledger.records import RecordedClaim
from pool.model.meetings import Meeting
from pool.store import key_names

SID = "bench-recovery"
_AT_ONCE = 5_000
_PATIENCE_SECONDS = 600.0


def measure(bench: Bench) -> list[Row]:
    """Measure seconds from the moment Redis answers again."""
    return [*_many_bindings(bench), _many_meetings(bench)]


def _many_bindings(bench: Bench) -> list[Row]:
    count = bench.options.sizes.recovery_bindings
    held, new = [], []
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        stage.work(lambda parts: _fill(parts, count))
        bench.say(f"{count:,} live bindings are in the ledger")
        stage.open_meetings([Meeting(SID)])
        api, port = stage.api(1)
        for process in (stage.sandbox(), api, stage.worker(), stage.beat()):
            stack.enter_context(process)
        url = f"http://127.0.0.1:{port}/v1/meetings/{SID}/claims"
        until_claimed(url, stage.key, "before")
        for run in range(bench.options.runs):
            time.sleep(2)  # what was claimed is recorded by then
            stage.redis_server.kill()
            stage.redis_server.start()
            first, status = until_claimed(url, stage.key, "customer-0000000")
            if status != 200:
                raise RuntimeError("a customer who held a link was given another")
            second, _ = until_claimed(url, stage.key, f"new-{run}")
            held.append(first)
            new.append(first + second)
            bench.say(f"run {run + 1}: {first:.1f} s, a new customer after {first + second:.1f} s")
    what = f"{count:,} live bindings"
    return [
        Row(
            "recovery.held",
            f"from Redis answering again to a customer's link, {what}",
            "s",
            tuple(held),
            Goal(at_most=15),
        ),
        Row("recovery.new", "… to a new customer's link", "s", tuple(new), Goal(at_most=15)),
    ]


def _many_meetings(bench: Bench) -> Row:
    """Measure seconds until the pools of all meetings serve again."""
    sids = [f"m{n:05d}" for n in range(bench.options.sizes.recovery_meetings)]
    took = []
    with Stage() as stage:
        open_many(stage, [quiet_meeting(sid) for sid in sids])
        with stage.worker(), stage.beat():
            for run in range(bench.options.runs):
                _until_open(stage, sids)
                time.sleep(2)  # no other step of that recovery is under way
                stage.redis_server.kill()
                stage.redis_server.start()
                began = time.monotonic()
                _until_open(stage, sids)
                took.append(time.monotonic() - began)
                bench.say(f"run {run + 1}: {len(sids):,} meetings after {took[-1]:.1f} s")
    what = f"from Redis answering again until the pools of all {len(sids):,} meetings serve"
    return Row("recovery.meetings", what, "s", tuple(took))


def _until_open(stage: Stage, sids: Sequence[str]) -> None:
    """Wait until the fence of each pool stands on this very server."""
    server = stage.redis.info("server")["run_id"].encode() + b":"
    keys = [key_names.epoch(sid) for sid in sids]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not all(epoch and epoch.startswith(server) for epoch in stage.redis.mget(keys)):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all pools serve again after {_PATIENCE_SECONDS:g} s")
        time.sleep(0.2)


async def _fill(parts: Parts, count: int) -> None:
    now = datetime.now(UTC)
    for start in range(0, count, _AT_ONCE):
        await parts.ledger.links.record(
            [
                RecordedClaim(
                    slug=f"one-off-{n:012x}",
                    url=f"https://sandbox.neetocal.com/one-off-{n:012x}",
                    meeting_sid=SID,
                    customer_id=f"customer-{n:07d}",
                    email=None,
                    metadata=None,
                    source="pool",
                    claimed_at=now - timedelta(milliseconds=count - n),
                    lapses_at=now + timedelta(days=30),
                )
                for n in range(start, min(start + _AT_ONCE, count))
            ]
        )
