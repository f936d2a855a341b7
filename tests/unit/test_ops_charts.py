"""Test the charts: how samples become lines, and what is read off them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pool.api.ops.charts.buckets import Bucket, buckets
from pool.api.ops.charts.compose import charts, rows
from pool.api.ops.charts.windows import BY_NAME
from pool.model.incidents import Incident, What
from pool.model.outcomes import Outcomes
from pool.store.records import Sample, Series
from pool.store.tallies import Counted

HOUR, DAY, WEEK = (BY_NAME[name] for name in ("hour", "day", "week"))
BEGIN = 1_795_000_000 // 3600 * 3600  # a full hour


def sample(at: int, **fields: int) -> Sample:
    """Return a sample `at` seconds into the window."""
    values = {"level": 50, "target": 60, "claims": 0, "top_ups": 0, "bookings": 0} | fields
    values = {"lowest": values["level"], "covers_seconds": 10, "after_gap": False} | values
    return Sample((BEGIN + at) * 1000, **values)  # type: ignore[arg-type]


def series(*samples: Sample, seconds: int = 3600, step: int = 10) -> Series:
    return Series("intro", step, BEGIN * 1000, (BEGIN + seconds) * 1000, samples)


def known(found: list[Bucket | None]) -> dict[int, Bucket]:
    return {index: each for index, each in enumerate(found) if each is not None}


def test_samples_are_put_together() -> None:
    """A step has the last level, the lowest one, and the sum of all counts."""
    found = buckets(
        series(sample(0, level=50, claims=3), sample(10, level=20, claims=4), sample(20, level=40)),
        30,
    )
    assert len(found) == 120
    [bucket] = known(found).values()
    assert (bucket.level, bucket.lowest, bucket.claims, bucket.seen_seconds) == (40, 20, 7, 30)


def test_a_late_sample_is_shared_by_the_time_it_covers() -> None:
    """A sweep that came after 90 s is no gap and no peak; nothing is lost or doubled."""
    found = known(buckets(series(sample(0), sample(90, claims=9, covers_seconds=90)), 30))
    assert sorted(found) == [0, 1, 2, 3]
    assert sum(bucket.claims for bucket in found.values()) == pytest.approx(9)
    assert found[2].claims == pytest.approx(3)


def test_a_gap_stays_a_gap() -> None:
    """The line is in two pieces, with nothing drawn for the time without samples."""
    told = series(sample(0), sample(600, covers_seconds=600, after_gap=True))
    assert sorted(known(buckets(told, 30))) == [0, 20]
    level = charts(told, HOUR)[0].lines[0]
    assert len(level.paths) == len(level.areas) == 2


def test_what_a_gap_hid_is_no_peak_when_it_ends() -> None:
    """600 claims in ten unseen minutes are one per second; the table and the sum have them all."""
    told = series(
        sample(0), sample(600, claims=600, covers_seconds=600, after_gap=True), sample(610)
    )
    after = known(buckets(told, 10))[60]
    assert after.rate(after.claims) == pytest.approx(1)
    assert sum(row.bucket.claims for row in rows(told, HOUR) if row.bucket) == 600
    assert charts(told, HOUR)[1].words.startswith("600 links handed out")


def test_what_lies_before_the_window_is_left_out() -> None:
    """The first sample may cover time that is not shown."""
    found = known(buckets(series(sample(0, claims=60, covers_seconds=600)), 30))
    assert found[0].claims == pytest.approx(1)


def test_without_history_there_are_no_charts() -> None:
    """The page says so instead."""
    assert charts(series(), HOUR) == ()


def test_axes_have_round_marks_that_hold_everything() -> None:
    """No line leaves its chart, and marks are counts that people like."""
    fresh, flow, _, booked = charts(
        series(sample(0, level=137, claims=40), sample(30, level=90, bookings=1)), HOUR
    )
    assert [tick.label for tick in fresh.up] == ["50", "100", "150"]
    assert fresh.up[-1].at == 0
    assert (flow.unit, booked.unit) == ("per second", "per 30 s")
    for chart in (fresh, flow, booked):
        heights = [
            float(point.split()[1])
            for line in chart.lines
            for path in line.paths
            for point in path[1:].split("L")
        ]
        assert all(0 <= height <= 100 for height in heights)
        assert chart.across[0].at == 0


@pytest.mark.parametrize(
    ("claims", "unit"), [(30, "per second"), (1, "per minute"), (0, "per hour")]
)
def test_rates_are_in_a_unit_that_can_be_pictured(claims: int, unit: str) -> None:
    """One event per 30 s is two per minute, not 0.03 per second."""
    assert charts(series(sample(0, claims=claims)), HOUR)[1].unit == unit


def test_the_table_says_the_same() -> None:
    """The newest first, and nothing where nobody looked."""
    told = rows(series(sample(0, claims=5), sample(310, claims=7)), HOUR)
    assert len(told) == 12
    assert [row.bucket.claims if row.bucket else None for row in told[-2:]] == [7, 5]
    assert told[0].bucket is None


@pytest.mark.parametrize(("window", "step", "seconds"), [(DAY, 60, 86_400), (WEEK, 3600, 604_800)])
def test_longer_windows_are_drawn_whole(window: object, step: int, seconds: int) -> None:
    """A day and a week of an even rate are one line from edge to edge."""
    told = series(
        *(sample(at, claims=step, covers_seconds=step) for at in range(0, seconds, step)),
        seconds=seconds,
        step=step,
    )
    line = charts(told, window)[1].lines[0]  # type: ignore[arg-type]
    assert len(line.paths) == 1
    assert line.paths[0].startswith("M0 ")
    assert "L1000 " in line.paths[0]


def counted(at: int, **counts: int) -> Counted:
    """Return the counts up to `at` seconds into the window."""
    return Counted((BEGIN + at) * 1000, Outcomes(counts))


def test_visitors_who_were_turned_away_are_drawn_and_summed() -> None:
    """They stand in the step in which they came; repeated claims have a line if there are any."""
    told = series(sample(0, claims=30), sample(30, claims=30))
    away = [counted(0, empty=3, error=1), counted(30, reused=7)]
    found = known(buckets(told, 30, counted=away))
    assert (found[0].turned_away, found[0].reused, found[1].reused) == (4, 0, 7)
    visitors = charts(told, HOUR, counted=away)[1]
    assert [line.label for line in visitors.lines] == [
        "handed out",
        "same link again",
        "turned away",
    ]
    assert visitors.words.endswith("the same link again 7 times, 4 visitors turned away.")
    quiet = charts(told, HOUR)[1]
    assert [line.label for line in quiet.lines] == ["handed out", "turned away"]


def test_the_chart_agrees_with_the_header() -> None:
    """It ends at the present level and target, and its words say the same."""
    fresh = charts(series(sample(3_590, level=0, target=50)), HOUR, now=(1_241, 1_300))[0]
    assert fresh.words.startswith("Now 1,241 of 1,300 wanted")
    level, target = fresh.lines
    assert level.paths[-1].split("L")[-1] == "1000 17.27"
    assert target.paths[-1].split("L")[-1] == "1000 13.33"


def test_a_stretch_that_is_not_over_does_not_plunge() -> None:
    """Only 10 of its 30 s are known, so bookings are drawn as projected for the whole."""
    samples = [sample(at, bookings=2, level=40) for at in range(0, 3_610, 10)]
    booked = charts(series(*samples, seconds=3_610), HOUR)[3].lines[0].paths[0]
    heights = {point.split()[1] for point in booked[1:].split("L")}
    assert len(heights) == 1


def test_a_dip_between_two_samples_is_drawn() -> None:
    """A pool that was emptied and refilled between two sweeps was empty nevertheless."""
    fresh = charts(series(sample(0), sample(30, lowest=0), sample(60)), HOUR)[0]
    heights = [float(point.split()[1]) for point in fresh.lines[0].paths[0][1:].split("L")]
    assert heights.count(100.0) == 1


def test_incidents_are_marked_on_every_chart() -> None:
    """A mark reaches from the beginning to the end, or to the present if the incident stands."""
    began = datetime.fromtimestamp(BEGIN + 1_800, UTC)
    fence = Incident(
        What.FENCE, "", began, began + timedelta(seconds=360), "x", ("a", "b"), links_lost=24
    )
    stands = Incident(What.PAUSE, "a", began, None, "holidays", ("a",))
    found = charts(series(sample(0)), HOUR, incidents=[fence, stands])
    for chart in found:
        assert [(mark.x, mark.width) for mark in chart.marks] == [(500.0, 100.0), (500.0, 500.0)]
    assert found[0].marks[0].words == (
        "Redis may have forgotten claims: 2 pools recovered; 6 min; 24 links quarantined"
    )
    assert found[0].marks[1].words.startswith("Paused: a; holidays;")


def test_a_sample_of_an_hour_belongs_to_the_hour_before_it() -> None:
    """It is taken as its hour begins; drawn a whole hour late, it would contradict the clock."""
    week = series(
        sample(0, covers_seconds=3_600),
        sample(3_600, claims=3_600, covers_seconds=3_600),
        seconds=7_200,
        step=3_600,
    )
    first, second = (bucket for bucket in buckets(week, 3_600) if bucket)
    assert first.claims == pytest.approx(3_590)
    assert second.claims == pytest.approx(10)
