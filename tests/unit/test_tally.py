"""Test what the log reports of claims."""

from __future__ import annotations

import structlog
from prometheus_client import CollectorRegistry, Histogram

from pool.api.claim_path.tally import FLUSHED_AT_ONCE, ClaimLog, HistogramTally, Tally
from pool.telemetry.metrics import Metrics


class Clock:
    """Seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_claims_that_went_well_leave_no_line() -> None:
    """Claims of a paused meeting leave none either."""
    with structlog.testing.capture_logs() as lines:
        ClaimLog(Clock()).note({("m", "new"): 5, ("m", "reused"): 2, ("m", "paused"): 9}, 0)
    assert lines == []


def test_trouble_is_logged_at_once_and_then_every_ten_seconds() -> None:
    """Each line has all events since the last one, by meeting and outcome."""
    clock = Clock()
    claims = ClaimLog(clock)
    with structlog.testing.capture_logs() as lines:
        claims.note({("m", "empty"): 1}, 0)
        assert lines == [
            {"event": "claims got no link", "log_level": "warning", "meeting": "m", "empty": 1}
        ]
        for _ in range(3):
            clock.now += 3
            claims.note({("m", "empty"): 1, ("n", "error"): 2}, 4)
        assert len(lines) == 1
        clock.now += 1
        claims.note({}, 0)
    said = [{k: v for k, v in line.items() if k != "log_level"} for line in lines[1:]]
    assert said == [
        {"event": "claims got no link", "meeting": "n", "error": 6},
        {"event": "claims got no link", "meeting": "m", "empty": 3},
        {"event": "slow claims", "claims": 12, "over_seconds": 0.25},
    ]


def test_a_thousand_meetings_in_trouble_are_a_few_lines() -> None:
    """The worst twenty by name, the others as a number."""
    with structlog.testing.capture_logs() as lines:
        ClaimLog(Clock()).note({(f"m{n}", "empty"): n + 1 for n in range(1000)}, 0)
    assert [line.get("meeting") for line in lines][:2] == ["m999", "m998"]
    assert len(lines) == 21
    assert (lines[-1]["other_meetings"], lines[-1]["claims"]) == (980, sum(range(1, 981)))


def test_a_tally_knows_how_many_were_slow() -> None:
    """Calls above the bound since the last flush count, and calls at it do not."""
    histogram = Histogram("h", "seconds", buckets=(0.1, 0.25, 1), registry=CollectorRegistry())
    tally = HistogramTally(histogram)
    for seconds in (0.01, 0.25, 0.26, 0.9, 7):
        tally.observe(seconds)
    assert tally.above(0.25) == 3
    tally.flush()
    assert tally.above(0.25) == 0


async def test_very_many_meetings_are_handed_over_in_turns() -> None:
    """A thousand at a time, the first first; none is lost, and none is handed over twice."""
    handed: list[tuple[str, str, int]] = []
    tally = Tally(Metrics(), lambda *each: handed.append(each))
    for _ in range(2):
        for number in range(FLUSHED_AT_ONCE + 5):
            tally.outcome(f"m{number}", "new", 1)
    await tally.flush()
    assert handed == [(f"m{number}", "new", 2) for number in range(FLUSHED_AT_ONCE)]
    tally.outcome("m0", "new", 1)
    await tally.flush(None)
    last = [(f"m{FLUSHED_AT_ONCE + number}", "new", 2) for number in range(5)]
    assert handed[FLUSHED_AT_ONCE:] == [*last, ("m0", "new", 1)]
