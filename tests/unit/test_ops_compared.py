"""Test that charts lay yesterday and last week under the present."""

from __future__ import annotations

import csv
import io
import time

from msgspec.structs import replace

from pool.api.ops.charts.compose import charts
from pool.api.ops.charts.earlier import EARLIER, Before, chosen, moved, names_of
from pool.api.ops.charts.windows import BY_NAME
from pool.api.ops.frame.rendering import fragment
from pool.api.ops.live.pasts import Past, Pasts
from pool.api.ops.pages.csv_files import csv_text
from pool.store.history import History
from pool.store.records import Level, Totals
from tests.in_process import InProcess
from tests.unit.test_ops_charts import BEGIN, HOUR, sample, series

YESTERDAY, LAST_WEEK = EARLIER
DAY_SECONDS = 86_400


def before(*samples: object) -> Before:
    """Return what happened at these times of yesterday's window, moved to today's."""
    return Before(YESTERDAY, series(*samples))  # type: ignore[arg-type]


def test_an_address_names_what_is_compared() -> None:
    """The order does not matter, and invalid names are left out."""
    assert chosen("last-week,yesterday") == EARLIER
    assert chosen("yesterday,<b>,tomorrow") == (YESTERDAY,)
    assert chosen("") == ()
    assert chosen(names_of(EARLIER)) == EARLIER


def test_earlier_lines_lie_on_the_same_axis() -> None:
    """They stand under the first quantity of each chart, and the axis fits the greater of both."""
    today = series(sample(0, level=40, claims=10), sample(30, level=50, claims=10))
    alone = charts(today, HOUR)
    found = charts(today, HOUR, before=[before(sample(0, level=180, claims=30))])
    assert [tick.label for tick in alone[0].up][-1] == "60"
    assert [tick.label for tick in found[0].up][-1] == "200"
    for chart in found:
        [line] = chart.unders
        assert (line.label, line.kind) == ("yesterday", "yesterday")
    assert found[0].unders[0].paths == ("M0 10L8.3 10",)
    assert "yesterday 180" in found[0].spots[0].values
    assert found[1].spots[0].values == "handed out 1, turned away 0, yesterday 3 (per second)"
    assert all(not chart.unders for chart in alone)


def test_a_gap_of_today_is_read_out_with_what_was_yesterday() -> None:
    """A gap of yesterday breaks yesterday's line, too."""
    found = charts(
        series(sample(0)), HOUR, before=[before(sample(0), sample(600), sample(1_200, level=7))]
    )
    assert len(found[0].unders[0].paths) == 3
    assert found[0].spots[-1].values == "no data, yesterday 7"
    html = fragment("meeting/charts.html", charts=found)
    assert html.count('class="stroke under yesterday"') == 4 * 3 + 4  # each path, and legends


def test_the_file_has_what_is_compared() -> None:
    """It stands in columns of its own, also where nothing is known of the present."""
    past = Past(series(sample(0, claims=4)), (), ())
    text = csv_text(past, HOUR, [before(sample(0, claims=3), sample(60, level=9, claims=1))])
    first, second, third, *_ = csv.DictReader(io.StringIO(text))
    assert (first["claims"], first["claims_yesterday"]) == ("4", "3")
    assert (second["claims"], second["claims_yesterday"]) == ("", "")
    assert (third["claims"], third["level_yesterday"], third["claims_yesterday"]) == ("", "9", "1")
    assert "yesterday" not in csv_text(past, HOUR)


def test_a_series_is_moved_whole() -> None:
    """Its times and its edges."""
    there = moved(series(sample(10)), DAY_SECONDS)
    assert there.samples[0].at_ms == (BEGIN + DAY_SECONDS + 10) * 1000
    assert there.begin_ms == (BEGIN + DAY_SECONDS) * 1000


async def test_yesterday_is_known_by_the_minute_and_last_week_by_the_hour(
    product: InProcess,
) -> None:
    """The resolution is that of the stored past, for an hour as for a month."""
    await product.meeting("intro")
    now = int(time.time()) // 60 * 60
    claims = 0
    level = await product.level("intro")

    async def sweep(ago: int) -> None:
        nonlocal claims
        claims += 60
        seen: Level = replace(level, now_ms=(now - ago) * 1000, totals=Totals(claims, 0, 0))
        history = History(product.redis.bare)
        await history.sample([seen], {"intro": 50}, sweep_seconds=60)

    for days in (7, 1):
        for ago in range(days * DAY_SECONDS + 7_200, days * DAY_SECONDS - 3_700, -60):
            await sweep(ago)
    await sweep(0)
    pasts = Pasts(product.store, product.ledger)
    one, two = await pasts.before("intro", HOUR, EARLIER)
    assert (one.earlier, two.earlier) == EARLIER
    assert (one.series.step_seconds, two.series.step_seconds) == (60, 3_600)
    lines = charts(one.series, HOUR, before=[one, two])[1].unders
    assert [each.label for each in lines] == ["yesterday", "last week, by the hour"]
    assert 59 <= len(one.series.samples) <= 62
    assert {each.claims for each in one.series.samples} == {60}
    drawn = charts(one.series, HOUR)[1]
    assert drawn.unit == "per second"
    assert [each.earlier for each in await pasts.before("intro", BY_NAME["month"], EARLIER)] == [
        YESTERDAY,
        LAST_WEEK,
    ]
    assert await pasts.before("nobody", HOUR, EARLIER) == ()
