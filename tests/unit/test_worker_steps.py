"""Test the worker's wiring: its settings and schedule, and which work each task does."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from pydantic import SecretStr

from pool.config.settings import Settings, Workspace
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.nudges import EXPIRES_SECONDS, NOTIFY, QUEUE, RECORD, RECOVER, SETTLE, TOP_UP
from pool.store import key_names
from tests.in_process import InProcess
from tests.unit.test_task_hints import Sent
from worker import (
    expire,
    forecast,
    hours,
    lapse,
    notify,
    reconcile,
    record,
    recover,
    settle,
    survey,
    sweep,
    tasks,
    top_up,
)
from worker.app import _steady_now, make_app

SECOND, HOUR = timedelta(seconds=1), 3_600


def settings(*names: str, **more: Any) -> Settings:
    workspaces = {
        name: Workspace(name=name, subdomain="acme", api_key=SecretStr("key")) for name in names
    }
    values: dict[str, Any] = {"redis_url": "redis://127.0.0.1:6379/0"}
    return Settings(workspaces=workspaces, **values | more)


def app_of(*names: str, **more: Any) -> Celery:
    """Return the worker's application. Nothing is connected."""
    return make_app(settings(*names, **more))


def test_the_worker_is_set_up_for_tasks_that_may_be_lost_or_run_twice() -> None:
    """No results, no gossip; what a dying worker held is run again, and reconnecting never ends."""
    conf = app_of("default").conf
    expected: dict[str, Any] = {
        "task_default_queue": QUEUE,
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_time_limit": 60,
        "task_soft_time_limit": 45,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 5_000,
        "worker_soft_shutdown_timeout": 5.0,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_max_retries": None,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_channel_error_retry": True,
        "broker_pool_limit": 4,
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": 1,
    }
    assert {name: conf[name] for name in expected} == expected
    assert conf.broker_transport_options["unacked_restore_throttle"] == 1
    assert (
        app_of(broker_url="redis://127.0.0.1:6379/5").conf.broker_url == "redis://127.0.0.1:6379/5"
    )


@pytest.mark.parametrize(
    ("names", "more", "processes"),
    [
        ((), {}, 3),
        (("a",), {}, 3),
        (("a", "b"), {}, 4),
        (("a", "b", "c"), {}, 5),
        (("a", "b", "c"), {"worker_concurrency": 1}, 1),
        ((), {"worker_concurrency": 9}, 9),
    ],
)
def test_every_workspace_can_be_topped_up_while_others_work(
    names: tuple[str, ...], more: dict[str, Any], processes: int
) -> None:
    """Two processes are left for the other tasks, unless a number is set."""
    assert app_of(*names, **more).conf.worker_concurrency == processes


def test_each_task_has_its_rhythm() -> None:
    """The settings decide, and a beat whose clock is wrong by minutes does no harm."""
    conf = app_of(
        "default", sweep_seconds=7.0, probe_seconds=11.0, reconcile_seconds=301.0
    ).conf.beat_schedule
    rhythm = {
        name: (each["task"], each["schedule"].run_every.total_seconds())
        for name, each in conf.items()
    }
    assert rhythm == {
        "sweep": (tasks.SWEEP, 7.0),
        "lapse": (tasks.LAPSE, 5.0),
        "expire": (tasks.EXPIRE, 60.0),
        "foresee": (tasks.FORESEE, 60.0),
        "keep": (tasks.KEEP, 60.0),
        "survey": (tasks.SURVEY, 11.0),
        "reconcile": (tasks.RECONCILE, 301.0),
    }
    for each in conf.values():
        seconds = each["schedule"].run_every.total_seconds()
        assert each["options"] == {"expires": 300.0 + 2 * seconds, "queue": QUEUE}
        assert each["schedule"].nowfun is _steady_now
    assert abs(_steady_now() - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("name", "work"),
    [
        (tasks.SWEEP, sweep.sweep),
        (SETTLE, settle.settle),
        (RECOVER, recover.recover),
        (NOTIFY, notify.deliver),
        (tasks.LAPSE, lapse.lapse),
        (tasks.EXPIRE, expire.expire),
        (tasks.FORESEE, forecast.foresee),
        (tasks.KEEP, hours.keep),
        (tasks.RECONCILE, reconcile.reconcile),
        (tasks.SURVEY, survey.survey),
    ],
)
def test_each_task_does_its_own_work(
    monkeypatch: pytest.MonkeyPatch, name: str, work: object
) -> None:
    """It does no other task's."""
    sent = Sent(monkeypatch)
    assert sent.run(name, []) == []
    assert sent.loop.ran == [work]


def test_tasks_with_arguments_pass_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They name the workspace, and the meeting unless it is all of them."""
    sent = Sent(monkeypatch)
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr(top_up, "top_up", lambda *args: called.append(("top_up", *args)))
    monkeypatch.setattr(record, "record", lambda *args: called.append(("record", *args)))
    sent.run(TOP_UP, False, workspace="acme")
    sent.run(RECORD, 0, sid="intro")
    sent.run(RECORD, 0)
    for work in sent.loop.ran:
        work("parts")
    assert called == [
        ("top_up", "parts", "acme"), ("record", "parts", "intro"), ("record", "parts", None),
    ]  # fmt: skip
    sent.run(tasks.SWEEP, [(SETTLE, {})])
    assert sent.options == [{"queue": QUEUE, "expires": EXPIRES_SECONDS}]


# -- bounds -----------------------------------------------------------------------------------


async def at_age(product: InProcess, monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    """Have every clock that the worker reads say this."""

    async def now_ms() -> int:
        return round(now.timestamp() * 1000)

    monkeypatch.setattr(product.store, "now_ms", now_ms)
    monkeypatch.setattr("worker.lapse.datetime", SimpleNamespace(now=lambda _zone: now))


async def test_a_link_is_as_old_as_a_meeting_allows_until_it_is_older(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is exact to the millisecond of the clock that counts."""
    await product.meeting("intro", max_fresh_age_seconds=HOUR)
    now = datetime.now(UTC).replace(microsecond=0)
    made_at_ms = round(now.timestamp() * 1000) - HOUR * 1000 - 60_000
    await product.stock("intro", "old", "just-old", made_at_ms=made_at_ms)
    await at_age(product, monkeypatch, now - 60 * SECOND)
    await expire.expire(product.parts)
    assert await product.pooled("intro") == ["just-old"]
    assert await product.state("old") is State.RETIRED
    found = await product.ledger.search.link("old")
    assert found is not None
    assert found.withdrawn_at == now - 60 * SECOND


@pytest.mark.parametrize(
    ("age_ms", "state"),
    [(60_000, State.FRESH), (60_001, State.QUARANTINED), (59_000, State.FRESH)],
)
async def test_a_link_has_a_minute_to_enter_its_pool(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, age_ms: int, state: State
) -> None:
    """After that it is set aside."""
    await product.meeting("intro")
    now = datetime.now(UTC).replace(microsecond=0)
    await product.stock("intro", "a-1", made_at_ms=round(now.timestamp() * 1000) - age_ms)
    await product.store.stock.withdraw("intro", ["a-1"])
    await at_age(product, monkeypatch, now)
    await expire.expire(product.parts)
    assert await product.state("a-1") is state


async def test_claims_lapse_batch_after_batch_with_rests_between(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rest is twice as long as its batch took; after half a minute the next run goes on."""
    clock, asked, rests = [100.0], list[int](), list[float]()
    left = [1_000] * 30

    async def batch(_now: datetime, limit: int) -> Counter[str]:
        asked.append(limit)
        clock[0] += 1.0
        return Counter(intro=left.pop())

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(product.ledger.links, "lapse", batch)
    monkeypatch.setattr("worker.lapse.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("worker.lapse.asyncio", SimpleNamespace(sleep=rest))
    await lapse.lapse(product.parts)
    assert asked == [1_000] * 10
    assert rests == [2.0] * 10
    left[:] = [999]
    await lapse.lapse(product.parts)
    assert (left, len(rests)) == ([], 10)


async def test_a_worker_settles_until_nothing_is_due_or_its_lock_is_gone(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred at a time; another worker leaves it to this one."""
    left, asked = [100, 100, 7], list[int]()

    async def settle_due(limit: int) -> int:
        asked.append(limit)
        return left.pop(0)

    monkeypatch.setattr(product.parts.bookings, "settle_due", settle_due)
    async with product.store.locks.held(key_names.task_lock("settle")):
        assert await settle.settle(product.parts) == 0
    assert asked == []
    assert await settle.settle(product.parts) == 207
    assert asked == [100, 100, 100]
    left[:] = [100, 100, 100]

    async def lost(_self: object) -> bool:
        return False

    monkeypatch.setattr("pool.store.locks.Held.extend", lost)
    assert await settle.settle(product.parts) == 100


async def test_a_pool_at_its_target_is_not_low(product: InProcess) -> None:
    """One below it is, and neither a stopped nor a closed one."""
    await product.meeting("intro", min_fresh=2, max_fresh=2)
    await product.stock("intro", "a-1")
    assert (TOP_UP, {"workspace": "default"}) in await sweep.sweep(product.parts)
    for stopped in ({"paused": True}, {"closed_reason": "gone"}):
        await product.ledger.meetings.close("intro", "")
        await product.meeting("intro", min_fresh=2, max_fresh=2, **stopped)
        await product.ledger.meetings.close("intro", str(stopped.get("closed_reason", "")))
        assert TOP_UP not in dict(await sweep.sweep(product.parts))
    await product.ledger.meetings.close("intro", "")
    await product.ledger.meetings.put(Meeting("intro", min_fresh=2, max_fresh=2))
    await product.stock("intro", "a-2")
    assert TOP_UP not in dict(await sweep.sweep(product.parts))


async def test_a_sweep_publishes_what_differs_and_nothing_else(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version grows only then, so that API processes read nothing anew."""
    for sid in ("same", "changed", "lost"):
        await product.meeting(sid, min_fresh=0)
    await product.ledger.meetings.put(Meeting("changed", min_fresh=3))
    await product.redis.bare.srem(key_names.MEETINGS, "lost")
    published: list[list[str]] = []
    put = product.store.published.put

    async def noted(meetings: list[Meeting]) -> None:
        published.append(sorted(each.sid for each in meetings))
        await put(meetings)

    monkeypatch.setattr(product.store.published, "put", noted)
    await sweep.sweep(product.parts)
    version = await product.store.published.version()
    await sweep.sweep(product.parts)
    assert published == [["changed", "lost"], []]
    assert await product.store.published.version() == version


async def test_strange_pools_are_recognised_however_many_links_there_are(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step; nothing that is fresh in the ledger leaves the pool."""
    monkeypatch.setattr(expire, "_LINKS_PER_STEP", 2)
    await product.meeting("intro")
    slugs = [f"a-{number}" for number in range(7)]
    await product.stock("intro", *slugs)
    level = await product.level("intro")
    await product.store.add("intro", level.epoch, ["stranger"], level.now_ms)
    assert await expire.withdraw_strangers(product.parts, "intro") == 1
    assert await product.pooled("intro") == slugs
