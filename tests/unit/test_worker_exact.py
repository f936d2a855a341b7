"""Test which work is due, in which turns, and what of it is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from pool.errors import ProviderFailed, StoreUnavailable
from pool.ledger import EventState, NewEvent
from pool.model.forecast import HOUR_SECONDS
from pool.nudges import NOTIFY, RECORD, RECOVER, SETTLE, TOP_UP
from pool.store import key_names
from pool.store.records import Block
from tests.in_process import InProcess, in_process
from worker import (
    each,
    forecast,
    reconcile,
    record,
    sweep,
    top_up,
)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)

# -- sweep -------------------------------------------------------------------------------------


async def test_a_sweep_asks_for_each_task_when_it_is_due(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves a heartbeat with the present time."""
    await product.meeting("intro", min_fresh=1, max_fresh=1)
    await product.stock("intro", "a-1", "a-2")
    beats: list[int] = []
    real = product.store.heartbeat

    async def beat(at_ms: int) -> None:
        beats.append(at_ms)
        await real(at_ms)

    monkeypatch.setattr(product.store, "heartbeat", beat)
    now_ms = datetime.now(UTC).timestamp() * 1000
    assert await sweep.sweep(product.parts) == []
    assert abs(beats[0] - now_ms) < 60_000
    await product.claim("intro", "ann")
    assert await sweep.sweep(product.parts) == [(RECORD, {})]
    await record.record(product.parts, None)
    later = datetime.now(UTC) + HOUR
    for event_id in ("e1", "e2"):
        new = NewEvent(event_id, "default", "webhook", "x", b"{}", datetime.now(UTC))
        await product.ledger.inbox.add(new)
    await product.ledger.inbox.finish("e1", EventState.IGNORED)
    assert await sweep.sweep(product.parts) == [(SETTLE, {})]
    await product.ledger.inbox.failed("e2", "?", not_before=later)
    assert await sweep.sweep(product.parts) == []

    async def notices(*_: object) -> bool:
        return True

    monkeypatch.setattr("worker.notify.observe", notices)
    assert await sweep.sweep(product.parts) == [(NOTIFY, {})]
    await product.redis.bare.delete(key_names.epoch("intro"))
    assert await sweep.sweep(product.parts) == [(NOTIFY, {}), (RECOVER, {})]


async def test_a_sweep_tops_up_each_workspace_that_is_low_once(
    fake_redis: Any, sqlite_url: str
) -> None:
    """They come in the order of their names."""
    async with in_process(fake_redis, sqlite_url, "b", "a", "default") as product:
        for name in ("b", "a", "default"):
            for number in range(2):
                least = 0 if name == "default" else 1
                await product.meeting(f"{name}-{number}", workspace=name, min_fresh=least)
        assert await sweep.sweep(product.parts) == [
            (TOP_UP, {"workspace": "a"}), (TOP_UP, {"workspace": "b"}),
        ]  # fmt: skip


# -- foresee, reconcile, settle, top up ---------------------------------------------------------


async def test_outlooks_of_an_earlier_hour_are_renewed_the_oldest_first(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing ones come first, and those of this hour are not renewed."""
    now = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    hour = int(now.timestamp()) // HOUR_SECONDS
    monkeypatch.setattr(forecast, "datetime", SimpleNamespace(now=lambda _zone: now))
    monkeypatch.setattr(forecast, "AT_ONCE", 3)
    made = {"now": hour, "last": hour - 1, "older": hour - 2, "oldest": hour - 9}
    for sid in (*made, "none"):
        await product.meeting(sid)
    await product.store.outlooks.put(
        {sid: forecast.outlook(first, []) for sid, first in made.items()}
    )
    read: list[list[str]] = []
    real = product.store.history.read_all

    async def read_all(sids: list[str], span: Any) -> Any:
        read.append(list(sids))
        return await real(sids, span)

    monkeypatch.setattr(product.store.history, "read_all", read_all)
    assert await forecast.foresee(product.parts) == 3
    assert await forecast.foresee(product.parts) == 1
    assert await forecast.foresee(product.parts) == 0
    assert read == [["none", "oldest", "older"], ["last"], []]
    known = await product.store.outlooks.get([*made, "none"])
    assert {each.first_hour for each in known.values()} == {hour}


class Reconciler:
    """A reconciler that notes its arguments, and returns what the test sets."""

    made: ClassVar[list[tuple[Any, ...]]] = []
    seconds: ClassVar[list[float]] = []
    done: ClassVar[dict[str, bool | Exception]] = {}
    turns: ClassVar[dict[str, int]] = {}

    def __init__(self, workspace: str, *parts: Any) -> None:
        self.workspace, self.pages = workspace, self.turns.get(workspace, 1)
        self.made.append((workspace, *parts))

    async def run(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        done = self.done.get(self.workspace, True)
        if isinstance(done, Exception):
            raise done
        return done


@pytest.fixture
def reconcilers(monkeypatch: pytest.MonkeyPatch) -> type[Reconciler]:
    for name, value in (("made", []), ("seconds", []), ("done", {}), ("turns", {})):
        monkeypatch.setattr(Reconciler, name, value)
    monkeypatch.setattr(reconcile, "Reconciler", Reconciler)
    return Reconciler


@pytest.mark.parametrize(
    ("done", "pages", "more"),
    [
        ({}, {}, False),
        ({"a": False}, {}, True),
        ({"a": False}, {"a": 0}, False),
        ({"b": False}, {"a": 0}, True),
        ({"a": ProviderFailed("500")}, {}, False),
        ({"a": ProviderFailed("500"), "b": False}, {}, True),
        ({"a": ValueError("a defect"), "b": False}, {}, True),
    ],
)
async def test_reconciling_goes_on_where_pages_are_left(
    fake_redis: Any, sqlite_url: str, reconcilers: type[Reconciler],
    done: dict[str, bool | Exception], pages: dict[str, int], more: bool,
) -> None:  # fmt: skip
    """Workspaces share the time of a pass; one that fails stops no other."""
    reconcilers.done, reconcilers.turns = done, pages
    async with in_process(fake_redis, sqlite_url, "a", "b") as product:
        assert await reconcile.reconcile(product.parts) is more
        parts = product.parts
        assert reconcilers.made == [
            (name, parts.providers[name], parts.makers[name], parts.store, parts.ledger,
             parts.bookings)
            for name in ("a", "b")
        ]  # fmt: skip
        assert reconcilers.seconds == [reconcile.PASS_SECONDS / 2] * 2
        failures = product.metric(
            "linkpool_meeting_failures_total", task="reconcile", meeting="workspace a"
        )
        assert failures == isinstance(done.get("a"), ValueError)


async def test_a_workspace_that_another_worker_asks_or_that_is_blocked_is_passed_by(
    fake_redis: Any, sqlite_url: str, reconcilers: type[Reconciler]
) -> None:
    async with in_process(fake_redis, sqlite_url, "a", "b", "c") as product:
        now_ms = await product.store.now_ms()
        await product.store.blocks.put_workspace("b", Block("401", now_ms, now_ms))
        async with product.store.locks.held(key_names.task_lock("reconcile:a")):
            assert await reconcile.reconcile(product.parts) is False
        assert [workspace for workspace, *_ in reconcilers.made] == ["c"]


@pytest.mark.parametrize(
    ("reopened", "settled", "asked"),
    [
        ([0], [0], "rs"),
        ([0], [100, 99], "rss"),
        ([7, 0], [100, 3, 3], "rsrs"),
        ([100, 0], [5, 99], "rsrs"),
        ([1] * 99, [0] * 99, "rs" * 11),
    ],
)
async def test_events_are_settled_again_until_nothing_is_left_or_time_is_up(
    monkeypatch: pytest.MonkeyPatch, reopened: list[int], settled: list[int], asked: str
) -> None:
    """A hundred at a time; once nothing more is unmatched, that is not asked again."""
    clock, said = [100.0], list[str]()

    async def reopen_unmatched(now: datetime, limit: int) -> int:
        assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
        assert limit == 100
        said.append("r")
        return reopened.pop(0)

    async def settle_due(limit: int) -> int:
        assert limit == 100
        said.append("s")
        clock[0] += 0.95
        return settled.pop(0)

    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    parts: Any = SimpleNamespace(
        ledger=SimpleNamespace(inbox=SimpleNamespace(reopen_unmatched=reopen_unmatched)),
        bookings=SimpleNamespace(settle_due=settle_due),
    )
    await reconcile.settle_again(parts)
    assert "".join(said) == asked


@pytest.mark.parametrize(
    "product", [{"provider_concurrency": 3, "probe_seconds": 77.0}], indirect=True
)
async def test_a_top_up_is_made_of_the_workspaces_own_parts(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each link is counted twice: for Prometheus and for the page."""
    made: dict[str, Any] = {}

    def noted(workspace: str, **parts: Any) -> str:
        made.update(parts, workspace=workspace)
        return "a run"

    monkeypatch.setattr(top_up, "TopUp", noted)
    parts = product.parts
    maker = parts.makers["default"]
    assert top_up.prepare(parts, "default", maker) == "a run"
    assert made["workspace"] == "default"
    assert (made["store"], made["ledger"], made["maker"]) == (parts.store, parts.ledger, maker)
    assert (made["provider_concurrency"], made["probe_seconds"]) == (3, 77.0)
    writer = made["pool_writer"]
    assert (writer._store, writer._ledger) == (parts.store, parts.ledger)
    counted: list[tuple[str, str]] = []
    monkeypatch.setattr(parts.outcomes, "count", lambda *args: counted.append(args))
    made["counted"]("intro", "added")
    assert product.counted("intro", "added") == 1
    assert counted == [("intro", "added")]


async def test_a_top_up_that_rests_asks_nobody(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not ask the ledger, either."""

    async def ping() -> None:
        raise AssertionError

    monkeypatch.setattr(product.ledger, "ping", ping)
    product.parts.makers["default"].patience.failed()
    assert await product.top_up() is False


# -- what is done for each meeting -----------------------------------------------------------------


async def test_what_fails_for_one_is_counted_and_said_under_its_name(product: InProcess) -> None:
    """Errors of linkpool have their reason, and any other has its traceback."""

    async def work(sid: str) -> None:
        if sid != "well":
            raise ValueError(sid) if sid == "bad" else StoreUnavailable(sid)

    with capture_logs() as lines:
        failed = await each.each(
            product.parts, "a task", ["bad", "well", "away"], work, prefix="workspace "
        )
    assert failed == ["bad", "away"]
    assert [(line["task"], line["meeting"]) for line in lines] == [
        ("a task", "workspace bad"), ("a task", "workspace away"),
    ]  # fmt: skip
    assert isinstance(lines[0]["exc_info"], ValueError)
    assert lines[1]["reason"] == "away"
    for name in ("workspace bad", "workspace away"):
        assert product.metric("linkpool_meeting_failures_total", task="a task", meeting=name) == 1
