"""Test how hints are spaced, merged and dropped, with a broker that notes its messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pool import nudges as module
from pool.nudges import RECORD, SETTLE, TOP_UP, Nudges

Hint = tuple[str, dict[str, Any]]


class Broker:
    """A broker that notes each message with its time, and refuses while it is down."""

    def __init__(self) -> None:
        self.sent: list[Hint] = []
        self.times: list[float] = []
        self.down = False
        self._arrived = threading.Condition()

    def take(self, _app: Any, task: str, *, kwargs: dict[str, Any], **_options: Any) -> None:
        """Take a message in place of Celery."""
        if self.down:
            raise ConnectionError("nobody listens")
        with self._arrived:
            self.sent.append((task, kwargs))
            self.times.append(time.monotonic())
            self._arrived.notify_all()

    def wait_for(self, count: int) -> list[Hint]:
        """Wait for this number of messages, and return them."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.sent) >= count, timeout=20)
        return self.sent[:count]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(
        "celery.Celery.send_task", lambda app, *args, **options: made.take(app, *args, **options)
    )
    return made


@pytest.fixture
def nudges(broker: Broker) -> Iterator[Nudges]:
    made = Nudges("redis://127.0.0.1:1/1")
    yield made
    made.stop()


def test_equal_hints_are_sent_once_and_a_later_one_half_a_second_after(
    broker: Broker, nudges: Nudges
) -> None:
    """The later one is delayed, not dropped: its cause may have come after the task looked."""
    for _ in range(3):
        nudges.send(TOP_UP, workspace="acme")
    nudges.start()
    assert broker.wait_for(1) == [(TOP_UP, {"workspace": "acme"})]
    nudges.send(TOP_UP, workspace="acme")
    assert broker.wait_for(2) == [(TOP_UP, {"workspace": "acme"})] * 2
    assert broker.times[1] - broker.times[0] >= module._SPACING_SECONDS * 0.98


def test_other_arguments_and_other_tasks_are_hints_of_their_own(
    broker: Broker, nudges: Nudges
) -> None:
    nudges.send(TOP_UP, workspace="acme")
    nudges.send(TOP_UP, workspace="other")
    nudges.send(SETTLE)
    nudges.start()
    assert broker.wait_for(3) == [
        (TOP_UP, {"workspace": "acme"}),
        (TOP_UP, {"workspace": "other"}),
        (SETTLE, {}),
    ]


def test_very_many_meetings_to_record_become_one_hint_for_all(
    broker: Broker, nudges: Nudges
) -> None:
    """Sixteen may stand apart in a round; only recording can be asked for all meetings at once."""
    for n in range(100):
        nudges.send(RECORD, sid=f"m{n}")
        nudges.send(TOP_UP, workspace=f"w{n}")
    nudges.start()
    sent = broker.wait_for(101)
    assert [each for task, each in sent if task == RECORD] == [{}]
    assert [each for task, each in sent if task == TOP_UP] == [
        {"workspace": f"w{n}"} for n in range(100)
    ]
    for n in range(16):
        nudges.send(RECORD, sid=f"m{n}")
    assert broker.wait_for(117)[-16:] == [(RECORD, {"sid": f"m{n}"}) for n in range(16)]


def test_hints_beyond_the_limit_are_dropped(
    broker: Broker, nudges: Nudges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that does not keep up costs bounded memory."""
    monkeypatch.setattr(module, "_WAITING_LIMIT", 3)
    for n in range(5):
        nudges.send(TOP_UP, workspace=f"w{n}")
    nudges.start()
    nudges.stop()
    assert [each["workspace"] for _, each in broker.sent] == ["w0", "w1", "w2"]


def test_a_broker_that_is_away_costs_the_hint_and_not_the_thread(
    broker: Broker, nudges: Nudges
) -> None:
    broker.down = True
    nudges.send(SETTLE)
    nudges.start()
    nudges.send(TOP_UP, workspace="acme")
    while nudges._pending:
        time.sleep(0.01)
    broker.down = False
    nudges.send(SETTLE)
    assert broker.wait_for(1) in ([(SETTLE, {})], [(TOP_UP, {"workspace": "acme"})])


def test_what_waits_is_sent_at_the_end(broker: Broker, nudges: Nudges) -> None:
    nudges.start()
    nudges.send(SETTLE)
    broker.wait_for(1)
    nudges.send(SETTLE)
    nudges.stop()
    assert broker.sent == [(SETTLE, {})] * 2


def test_headers_are_asked_for_in_the_callers_context(broker: Broker) -> None:
    """They are requested once for each hint that will be sent."""
    asked: list[str] = []

    def headers() -> dict[str, str]:
        asked.append(threading.current_thread().name)
        return {}

    nudges = Nudges("redis://127.0.0.1:1/1", headers=headers)
    nudges.send(SETTLE)
    nudges.send(SETTLE)
    nudges.start()
    nudges.stop()
    assert asked == [threading.current_thread().name]
    assert broker.sent == [(SETTLE, {})]
