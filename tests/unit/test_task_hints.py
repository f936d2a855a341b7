"""Test what tasks ask of other tasks, and what a forecast is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery

from pool.model.forecast import HOUR_SECONDS
from pool.nudges import QUEUE, RECORD, RECOVER, SETTLE, TOP_UP
from pool.store import key_names
from tests.in_process import InProcess
from worker import forecast, tasks
from worker.forecast import hours_of


class AnsweringLoop:
    """Says what the test wants as the result of every piece of work, or does the work."""

    tracing = None

    def __init__(self) -> None:
        self.answer: Any = None
        self.ran: list[Any] = []

    def run(self, work: Any) -> Any:
        self.ran.append(work)
        return self.answer

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Sent:
    """An application whose hints go nowhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = AnsweringLoop()
        self.hints: list[tuple[str, dict[str, Any]]] = []
        self.options: list[dict[str, Any]] = []
        self.app = Celery("test", set_as_current=False)
        loop: Any = self.loop
        tasks.register(self.app, loop)

        def send(name: str, kwargs: dict[str, Any], **options: Any) -> None:
            self.hints.append((name, kwargs))
            self.options.append(options)

        monkeypatch.setattr(self.app, "send_task", send)

    def run(self, name: str, answer: Any, **arguments: Any) -> list[tuple[str, dict[str, Any]]]:
        """Return what the task hints at when its work comes to this."""
        self.loop.answer = answer
        self.hints.clear()
        done = self.app.tasks[name].apply(kwargs=arguments)
        assert done.state == "SUCCESS"
        return list(self.hints)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(monkeypatch)


def test_a_sweep_sends_what_is_due(sent: Sent) -> None:
    """Messages have their arguments, the workers' queue and an expiry."""
    due = [(RECOVER, {}), (TOP_UP, {"workspace": "default"}), (SETTLE, {})]
    assert sent.run(tasks.SWEEP, due) == due
    assert all(each["queue"] == QUEUE and 0 < each["expires"] < 600 for each in sent.options)


def test_a_top_up_that_is_not_done_goes_on(sent: Sent) -> None:
    """The same workspace is topped up again; a top-up that is done asks for nothing."""
    again = [(TOP_UP, {"workspace": "acme"})]
    assert sent.run(TOP_UP, True, workspace="acme") == again
    assert sent.run(TOP_UP, False, workspace="acme") == []


def test_a_recovered_pool_is_topped_up(sent: Sent) -> None:
    """Each workspace is topped up once."""
    hints = sent.run(RECOVER, {"one", "two"})
    assert sorted(each["workspace"] for _, each in hints) == ["one", "two"]
    assert {name for name, _ in hints} == {TOP_UP}
    assert sent.run(RECOVER, set()) == []


def test_reconciling_that_is_not_done_goes_on(sent: Sent) -> None:
    """The next run is asked for at once; when all is done it rests until it is due again."""
    assert sent.run(tasks.RECONCILE, True) == [(tasks.RECONCILE, {})]
    assert sent.run(tasks.RECONCILE, False) == []


@pytest.mark.parametrize("name", [RECORD, SETTLE, tasks.LAPSE, tasks.EXPIRE, tasks.FORESEE])
def test_the_other_tasks_do_their_work_and_ask_for_nothing(sent: Sent, name: str) -> None:
    """Each does its work once."""
    assert sent.run(name, 1) == []
    assert len(sent.loop.ran) == 1


# -- foresee -----------------------------------------------------------------------------


async def test_an_outlook_is_renewed_once_an_hour(product: InProcess) -> None:
    """Every published meeting has its outlook renewed; one of this hour is left as it is."""
    for sid in ("one", "two"):
        await product.meeting(sid)
    assert await forecast.foresee(product.parts) == 2
    hour = int(datetime.now(UTC).timestamp()) // HOUR_SECONDS
    known = await product.store.outlooks.get(["one", "two", "none"])
    assert {sid: each.first_hour for sid, each in known.items()} in (
        {"one": hour, "two": hour}, {"one": hour - 1, "two": hour - 1},
    )  # fmt: skip
    assert await forecast.foresee(product.parts) in (0, 2)
    await product.meeting("three")
    assert await forecast.foresee(product.parts) in (1, 3)


async def test_those_that_waited_longest_come_first(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at a time, so that all have their turn."""
    monkeypatch.setattr(forecast, "AT_ONCE", 1)
    for sid in ("a", "b"):
        await product.meeting(sid)
    for _ in range(2):
        assert await forecast.foresee(product.parts) == 1
    assert set(await product.store.outlooks.get(["a", "b"])) == {"a", "b"}


async def test_one_process_foresees_at_a_time(product: InProcess) -> None:
    """The second leaves it to the first."""
    await product.meeting("a")
    async with product.store.locks.held(key_names.task_lock("foresee")):
        assert await forecast.foresee(product.parts) == 0
    assert await product.store.outlooks.get(["a"]) == {}


def test_a_sample_counts_for_the_hour_before_it() -> None:
    """Neither the first sample nor one that covers another time counts."""
    from pool.store.records import Sample, Series

    def sample(hour: int, claims: int, covers: int = HOUR_SECONDS) -> Sample:
        return Sample(hour * HOUR_SECONDS * 1000, 1, 1, 1, claims, 0, 0, covers, False)

    samples = (sample(10, 99), sample(11, 5), sample(12, 7, covers=60), sample(13, 8))
    series = Series("a", HOUR_SECONDS, 0, 1, samples)
    assert hours_of(series) == [(10, 5.0), (12, 8.0)]
