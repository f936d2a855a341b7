"""Test tasks that fail: the worker goes on, and the failure is reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from celery import Celery
from celery.signals import task_failure
from structlog.testing import capture_logs

from pool.errors import StoreUnavailable
from worker import tasks


class FailingLoop:
    """Every piece of work fails."""

    tracing = None

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, _work: Any) -> Any:
        raise self._error

    def close(self) -> None:
        """Do nothing: nothing is open."""


@pytest.fixture
def told() -> Iterator[list[BaseException]]:
    """Collect the failures that a listener, such as tracing, is notified of."""
    errors: list[BaseException] = []

    def fail(exception: BaseException, **_: Any) -> None:
        errors.append(exception)

    task_failure.connect(fail)
    yield errors
    task_failure.disconnect(fail)


@pytest.mark.parametrize("error", [StoreUnavailable("Redis: away"), ValueError("oh")])
def test_nothing_that_a_task_raises_reaches_celery(
    error: Exception, told: list[BaseException]
) -> None:
    """It would go through a pipe in pieces, and Celery's main process may lose its place there."""
    app = Celery("test", set_as_current=False)
    loop: Any = FailingLoop(error)
    tasks.register(app, loop)
    names = [name for name in app.tasks if name.startswith("linkpool.")]
    assert len(names) == 12
    with capture_logs() as lines:
        for name in names:
            arguments = {"workspace": "default"} if name == tasks.TOP_UP else {}
            done = app.tasks[name].apply(kwargs=arguments)
            assert (done.state, done.result) == ("SUCCESS", None), name
    assert told == [error] * len(names)
    assert [(line["event"], line["task"]) for line in lines] == [
        ("task failed", name) for name in names
    ]
    expected: dict[str, Any] = {"exc_info": error}
    if isinstance(error, StoreUnavailable):
        expected = {"reason": "Redis: away", "kind": "StoreUnavailable"}
    assert all(expected.items() <= line.items() for line in lines)
    structlog.reset_defaults()
