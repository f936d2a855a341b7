"""Run trial 21: a long time at four fifths of the peak."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import preload
from bench.loads.arrivals import arrivals
from bench.loads.request import claim_request
from pool.model.meetings import Meeting
from pool.store import key_names
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.stages import whole

SHARE = 0.8
PEAK_SHARE = 1 / 12  # of the whole time is spent to find the peak, in a long run so long ...
PEAK_SECONDS = 3.0  # ... that claims lapse as fast as they are made; at least this
DRAIN_SECONDS = 120.0
WARM_SECONDS = 8.0  # what was answered in the last ten levels off before the first step's end
STEPS = 3
STOCK = 100_000  # links in the pool, some seconds of claims
AT_ONCE = 500  # links are added
GROWTH = 0.05  # of the servers' memory, from the first step to the last
WORSE = 3.0  # times the first step's p99 is flat on a machine that does other things, too ...
NOISE_MS = 50.0  # ... and so is whatever stays below this
LONG_SECONDS = 300  # steps of a shorter run say nothing about times; a test suite has none to judge


def soak(stage: Stage, seed: int, size: int) -> Outcome:
    """21: `size` seconds at 80 % of the peak: memory level, stream drained, p99 flat.

    Claims lapse after a minute, so that what Redis holds levels off, too.
    """
    sid = stage.open(
        Meeting(
            f"trial-21-{seed}", min_fresh=0, max_fresh=1, cover_seconds=0, on_empty="fail",
            claim_ttl_seconds=60,
        )
    )  # fmt: skip
    port = stage.server_ports[0]
    tape = Tape()
    crowd = Crowd(tape, [port], sid, stage.key, seed=seed, connections=50, again=0.0)
    request = claim_request(port, f"/v1/meetings/{sid}/claims", key=stage.key)
    p99_ms, rss, streams = [], [], []
    with _stocked(stage, sid):
        began = time.monotonic()
        crowd.start()
        time.sleep(max(PEAK_SECONDS, PEAK_SHARE * size))
        crowd.stop()
        # The peak is what everything together can answer and record: a rate that only leaves
        # more and more to the recorder is none that can be kept up.
        _drain(stage, sid)
        rate = SHARE * crowd.answered / (time.monotonic() - began)
        answered, doubtful = len(tape.claims), 0
        for step in range(STEPS + 1):
            seconds = WARM_SECONDS if step == 0 else max(4.0, (size - WARM_SECONDS) / STEPS)
            seen = arrivals(request, rate=rate, seconds=seconds)
            answered += seen.answered - seen.bad
            doubtful += seen.sent - seen.answered + seen.bad
            p99_ms.append(seen.p99_ms)
            rss.append(stage.servers[0].process.rss_bytes())
            streams.append(int(stage.redis.xlen(key_names.claims(sid))))
    since = time.monotonic()
    _drain(stage, sid)
    drained = time.monotonic() - since
    recorded = stage.rows(
        "SELECT count(*) FROM links WHERE meeting_sid = ? AND customer_id IS NOT NULL", sid
    )[0][0]
    stage.redis.delete(key_names.fresh(sid))  # made up, and without rows in the ledger
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    growth = rss[-1] / rss[1] - 1
    if growth > GROWTH:
        wrong.append(f"memory grew by {growth:.1%}")
    if size >= LONG_SECONDS and p99_ms[-1] > max(WORSE * p99_ms[1], NOISE_MS):
        wrong.append(f"p99 went from {p99_ms[1]:.1f} to {p99_ms[-1]:.1f} ms")
    # Who was refused, or did not wait for the answer, may have got a link all the same.
    if not answered <= recorded <= answered + doubtful:
        wrong.append(f"{answered} claims were answered, {doubtful} in doubt, {recorded} recorded")
    notes = (
        f"{rate:,.0f}/s, memory {rss[1] / 1e6:.0f} to {rss[-1] / 1e6:.0f} MB, p99 "
        f"{p99_ms[1]:.1f} to {p99_ms[-1]:.1f} ms, stream {max(streams):,} at most, drained "
        f"{drained:.1f} s after"
    )
    return Outcome("21", seed, answered, 0, verdict.violations, tuple(wrong), notes=notes)


@contextmanager
def _stocked(stage: Stage, sid: str) -> Iterator[None]:
    """Keep STOCK made-up links in the pool, adding as few at a time as top-up does: stock for half
    an hour at once would be a gigabyte, and Redis busy with writing it down.
    """
    prefix = "bbbb"
    stage.preloaded.add(f"one-off-{prefix}")
    over = threading.Event()

    def stock() -> None:
        made = 0
        while not over.wait(0.02):
            missing = min(AT_ONCE, STOCK - stage.level(sid))
            if missing > 0:
                preload.fresh_links(stage.redis, sid, missing, prefix=prefix, first=made)
                made += missing

    stocking = stage.pool.submit(stock)
    try:
        until(lambda: stocking.done() or stage.level(sid) >= STOCK, 60, "there is stock")
        yield
    finally:
        over.set()
        stocking.result()


def _drain(stage: Stage, sid: str) -> None:
    until(
        lambda: not stage.redis.xlen(key_names.claims(sid)), DRAIN_SECONDS, "the stream is drained"
    )


TRIALS = [Trial("21", "80 % of the peak, for long", soak, full=1_800, bounded=20, stage=whole)]
