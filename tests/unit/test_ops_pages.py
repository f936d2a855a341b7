"""Test what the overview shows: which pools, in which order, and how the rest of the service is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace as structs_replace

from pool.access.api_keys import Caller, Scope
from pool.api.ops.live.boards import Board, Boards
from pool.api.ops.live.workspace_boards import parts_of
from pool.api.ops.session.sessions import Session
from pool.model.forecast import NO_PAST, Forecast
from pool.model.meetings import Meeting
from pool.model.outcomes import Outcomes
from pool.operations.explain import explain
from pool.operations.selection import PAGE_ROWS, Selection, select
from pool.operations.snapshot import LedgerHealth, Snapshot, WorkspaceHealth
from pool.operations.status import MeetingStatus, _status, urgency
from pool.operations.summary import lead
from pool.operations.tiles import tiles_of, visitors, with_refused_webhooks
from pool.operations.trends import Trends
from pool.store.records import Block
from tests.any_redis import AnyRedis
from tests.in_process import InProcess

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def status(sid: str, state: str = "ok", **more: Any) -> MeetingStatus:
    """Return a pool of 50 fresh links that nobody claims, but for these fields."""
    wellness: dict[str, Any] = {
        "meeting": Meeting(sid), "fresh": 50, "target": 50, "counts": {},
        "claims_per_second": 0.0, "runway_seconds": None, "oldest_fresh_seconds": None,
        "forecast": Forecast(None, None, 50), "unrecorded": 0, "state": state, "reason": "",
    }  # fmt: skip
    return MeetingStatus(**(wellness | more))


def snapshot(**more: Any) -> Snapshot:
    """Return a service in which all is well, but for these fields."""
    well = Snapshot(
        at=NOW,
        every_seconds=2.0,
        ledger=LedgerHealth(unmatched=0),
        heartbeat_at_ms=NOW_MS - 2_000,
        workspaces=(WorkspaceHealth("default", 12.5, None),),
    )
    return replace(well, **more)


# -- which pools ---------------------------------------------------------------------


def test_the_most_urgent_pools_come_first() -> None:
    """Pools that turn visitors away or will soon come first; a calm pool comes last."""
    pools = [
        status("a-ok"),
        status("b-low", "low", runway_seconds=200.0),
        status("c-low", "low", runway_seconds=20.0),
        status("d-empty", "empty", runway_seconds=0.0),
        status("e-paused", "paused"),
        status("f-low", "low", runway_seconds=10.0),
        status("g-empty", "empty"),
        status("h-blocked", "blocked", runway_seconds=1_000.0),
    ]
    order = [each.meeting.sid for each in sorted(pools, key=urgency)]
    assert order == [
        "d-empty", "c-low", "f-low", "b-low", "h-blocked", "g-empty", "e-paused", "a-ok",
    ]  # fmt: skip


def test_a_workspace_shows_its_pools_a_page_at_a_time() -> None:
    """It has the overview's filters, whose addresses are the workspace's own."""
    mine = Meeting("x", workspace="acme")
    pools = [
        status(f"m{n:04}", "low" if n < 3 else "ok", meeting=replace(mine, sid=f"m{n:04}"))
        for n in range(1_001)
    ]
    found = (*pools, status("elsewhere"))
    session = Session(Caller("k", frozenset({Scope.READ}), None), "token")

    def shown(**query: str) -> dict[str, str]:
        selection = replace(Selection.of(query), workspace="acme")
        return parts_of(snapshot(found=found), session, selection)

    first = shown()
    assert first["workspace-pools"].count("<tr>") == 1 + PAGE_ROWS
    assert "1,001 pools" in first["workspace-pools"]
    assert "elsewhere" not in first["workspace-pools"]
    assert 'href="/ops/workspaces/acme?page=2"' in first["pages"]
    assert 'href="/ops/workspaces/acme?state=low"' in first["filters"]
    last = shown(page="99")["workspace-pools"]
    assert last.count("<tr>") == 2
    assert "m1000" in last
    assert shown(state="low")["workspace-pools"].count("<tr>") == 4
    assert shown(q="m0007")["workspace-pools"].count("<tr>") == 2
    assert "No pools match" in shown(q="elsewhere")["workspace-pools"]


def test_a_search_finds_parts_of_sids_in_any_case() -> None:
    """The page says how many pools of each state the search found."""
    pools = [status("Demo-1"), status("demo-2", "low"), status("other", "empty")]
    found = select(Selection(text="DEMO"), pools)
    assert [each.meeting.sid for each in found.rows] == ["Demo-1", "demo-2"]
    assert {each.state: each.count for each in found.filters} == {
        "": 2, "attention": 1, "low": 1, "ok": 1,
    }  # fmt: skip


def test_attention_leaves_out_what_is_well_or_somebodys_wish() -> None:
    """A paused pool needs nobody."""
    states = ["recovering", "empty", "blocked", "low", "paused", "ok"]
    found = select(Selection(state="attention"), [status(state, state) for state in states])
    assert [each.state for each in found.rows] == ["recovering", "empty", "blocked", "low"]


def test_pages_cover_everything_once() -> None:
    """A page beyond the last is the last."""
    pools = [status(f"m{number:03}") for number in range(2 * PAGE_ROWS + 7)]
    shown = [select(Selection(page=page), pools) for page in (1, 2, 3, 99)]
    sids = [each.meeting.sid for one in shown[:3] for each in one.rows]
    assert sids == [each.meeting.sid for each in pools]
    assert shown[3].rows == shown[2].rows
    assert (shown[3].selection.page, shown[3].pages, shown[2].first) == (3, 3, 2 * PAGE_ROWS + 1)


@pytest.mark.parametrize(
    "query",
    [
        {"state": "nonsense"},
        {"page": "-1"},
        {"page": "²"},
        {"page": "99999999999999999999"},
        {"q": "   "},
        {"state": "", "page": "", "q": ""},
    ],
)
def test_an_address_that_makes_no_sense_shows_all(query: dict[str, str]) -> None:
    """People edit addresses; nothing breaks."""
    assert Selection.of(query) == Selection()


def test_an_address_leads_back_to_its_selection() -> None:
    """An address leads back to its selection, with any search text."""
    for selection in (Selection(), Selection("a&b=c #%", "low", 3), Selection("ä", "", 1)):
        address = selection.address()
        query = dict(pair for pair in _query(address))
        assert Selection.of(query) == selection


def _query(address: str) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl, urlsplit

    return parse_qsl(urlsplit(address).query)


# -- the rest of the service -----------------------------------------------------------


def told(reading: Snapshot, lag_claims: int = 0, *, everywhere: bool = True) -> dict[str, Any]:
    """Return the tiles by name."""
    return {each.name: each for each in tiles_of(reading, lag_claims, 5.0, everywhere=everywhere)}


def test_a_service_that_is_well_says_so_quietly() -> None:
    """Nothing on the page calls for attention."""
    found = told(snapshot())
    assert {each.level for each in found.values()} == {"ok"}
    assert "12.5 requests/s" in found["Provider"].detail
    assert "2 s ago" in found["Worker"].detail


@pytest.mark.parametrize(
    ("reading", "lag", "name", "level", "says"),
    [
        (snapshot(heartbeat_at_ms=None), 0, "Worker", "bad", "linkpool worker"),
        (snapshot(heartbeat_at_ms=NOW_MS - 60_000), 0, "Worker", "bad", "60 s ago"),
        (snapshot(ledger=LedgerHealth("refused")), 7, "Ledger", "bad", "refused"),
        (snapshot(ledger=LedgerHealth("refused")), 7, "Ledger", "bad", "7 claims waiting"),
        (snapshot(), 5_000, "Ledger", "low", "5,000 claims waiting"),
        (snapshot(ledger=LedgerHealth(unmatched=3)), 0, "Bookings", "low", ""),
        (
            snapshot(workspaces=(
                WorkspaceHealth("default", 1.0, None),
                WorkspaceHealth("acme", 1.0, Block("401", NOW_MS - 180_000, NOW_MS + 40_000)),
            )),
            0, "Provider", "bad", "401; for 3 min, next try in 40 s",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_reason(
    reading: Snapshot, lag: int, name: str, level: str, says: str
) -> None:
    """Worker, ledger, provider and bookings, each in its own words."""
    tile = told(reading, lag)[name]
    assert tile.level == level
    assert says in tile.detail


def test_nothing_is_claimed_to_be_known_while_redis_is_away() -> None:
    """Pools, workers and the provider are shown as unknown."""
    away = snapshot(store_problem="Redis: refused", heartbeat_at_ms=None, workspaces=())
    found = told(away)
    assert found["Redis"].detail == "Redis: refused"
    assert found["Worker, provider"].level == "unknown"
    assert lead(away, []) == ("bad", "Redis does not answer, so the state of the pools is unknown")


def test_full_pools_are_no_comfort_while_a_part_is_broken() -> None:
    """The sentence above them names it; pools in trouble come first, as ever."""
    reading = snapshot(heartbeat_at_ms=None, ledger=LedgerHealth(problem="locked"))
    shown = tiles_of(reading, 0, 10, everywhere=True)
    level, words = lead(reading, [status("a"), status("b")], shown)
    assert level == "bad"
    assert words == (
        "All pools have enough links now, but the worker has never run "
        "and the ledger does not answer"
    )
    assert lead(reading, [status("a", "empty")], shown)[1] == "1 pool: 1 empty"


def test_every_broken_part_makes_a_whole_sentence() -> None:
    """This holds for tiles whose names are no parts of the service, too."""
    refused = with_refused_webhooks(told(snapshot())["Bookings"], Outcomes({"bad_signature": 1}))
    for away, said in (
        (1, "1 visitor was turned away in the last hour"),
        (2_000, "2,000 visitors were turned away in the last hour"),
    ):
        shown = [visitors(Outcomes({"claims": 3, "recovering": away})), refused]
        words = lead(snapshot(), [status("a")], shown)[1]
        assert words == f"The pool has enough links now, but {said} and webhooks are refused"


def test_a_key_of_some_meetings_sees_no_others_bookings() -> None:
    """Unmatched bookings are about all meetings."""
    assert "Bookings" not in told(snapshot(), everywhere=False)


def test_one_sentence_sums_the_pools_up() -> None:
    """The worst comes first; healthy pools are not listed."""
    assert lead(snapshot(), [status("a"), status("b")]) == ("ok", "All pools have enough links")
    level, words = lead(
        snapshot(),
        [status("a", "low"), status("b", "empty"), status("c", "paused"), status("d")],
    )
    assert level == "bad"
    assert words == "4 pools: 1 empty, 1 low, 1 paused"
    assert lead(snapshot(), [status("a", "low")])[0] == "low"


def test_visitors_who_were_turned_away_have_a_tile() -> None:
    """It has the reason; visitors turned away on purpose are no alarm, and nothing is guessed."""
    away = visitors(Outcomes({"claims": 1_204, "reused": 9, "empty": 80, "paused": 5}))
    assert (away.level, away.words) == ("bad", "85 turned away")
    assert away.detail == "80 pool empty, 5 paused; 1,204 got a link, 9 their link again"
    assert visitors(Outcomes({"claims": 3, "paused": 5})).level == "ok"
    calm = visitors(Outcomes({"claims": 3}))
    assert (calm.words, calm.detail) == ("3 got a link", "nobody was turned away")
    assert visitors(None).level == "unknown"


def test_webhooks_with_a_wrong_signature_are_seen_on_the_overview() -> None:
    """56 of them left no trace before; other trouble with bookings keeps its own words."""
    well = told(snapshot())["Bookings"]
    refused = with_refused_webhooks(well, Outcomes({"bad_signature": 56}))
    assert (refused.level, refused.words) == ("bad", "webhooks refused")
    assert "56 webhooks" in refused.detail
    unmatched = told(snapshot(ledger=LedgerHealth(unmatched=3)))["Bookings"]
    both = with_refused_webhooks(unmatched, Outcomes({"bad_signature": 1}))
    assert (both.words, "1 webhook" in both.detail) == ("3 unmatched", True)
    assert with_refused_webhooks(well, None) == well


@pytest.mark.parametrize(
    ("rate", "fresh", "reason"),
    [
        (0.59, 1, "At most 1 is too small: this rate needs about 180"),
        (0.001, 1, ""),
    ],
)
async def test_a_capped_pool_says_which_cap_its_rate_needs(
    product: InProcess, rate: float, fresh: int, reason: str
) -> None:
    """It is full and lasts two seconds: that is not ok."""
    meeting = await product.meeting("capped", min_fresh=1, max_fresh=1)
    await product.stock("capped", "a-1")
    level = structs_replace(await product.level("capped"), claims_per_second=rate, fresh=fresh)
    found = _status(meeting, level, None, {}, NO_PAST, without_worker=False)
    assert (found.state, found.reason) == ("low" if reason else "ok", reason)
    assert found.feel == ("soon" if reason else "ok")
    if reason:
        crowd = structs_replace(level, claims_per_second=12.1, fresh=0)
        dry = _status(meeting, crowd, None, {}, NO_PAST, without_worker=False)
        assert dry.reason == "no fresh links; at most 1 is too small: this rate needs about 3,700"
        assert "to 3,700 or more" in explain(dry).you
        assert explain(found).visitors.startswith("Nothing yet")
        assert "271 visitors got none" in explain(found, 271).visitors


# -- what rows say -------------------------------------------------------------------


async def test_a_reason_that_many_pools_share_is_shown_once(fake_redis: AnyRedis) -> None:
    """Above the list, with their number; a reason of one pool stands in its row."""
    found = [status(f"b{n}", "blocked", reason="the key was refused") for n in range(3)]
    found.append(status("c", "blocked", reason="the meeting is gone"))
    board = await overview(fake_redis, *found)
    assert board.parts["shared"].count("the key was refused") == 1
    assert "3 pools" in board.parts["shared"]
    assert not any("the key was refused" in row for row in board.rows.values())
    assert [sid for sid, row in board.rows.items() if "the meeting is gone" in row] == ["c"]
    measured = [status(f"d{n}", "low", reason="13 of 50 links") for n in range(3)]
    board = await overview(fake_redis, *measured)
    assert "13 of 50" not in board.parts["shared"], "they are equal by chance"
    assert all("13 of 50 links" in row for row in board.rows.values())


async def test_a_pool_that_is_recovered_shows_no_links_that_may_be_quarantined(
    fake_redis: AnyRedis,
) -> None:
    """They may be thrown away in the next second."""
    board = await overview(fake_redis, status("r", "recovering"), status("ok"))
    assert "not known yet" in board.rows["r"]
    assert "50" not in board.rows["r"]
    assert "50" in board.rows["ok"]


async def overview(redis: AnyRedis, *found: MeetingStatus) -> Board:
    """Return the overview of these pools, as a key for all meetings sees it."""
    boards = Boards(Trends(redis.store), 5.0)
    session = Session(Caller("k", frozenset({Scope.READ}), None), "")
    return await boards.board(snapshot(found=found), Selection(), session)
