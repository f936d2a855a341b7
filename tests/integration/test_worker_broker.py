"""Test that workers stay connected to a broker that comes and goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from celery.exceptions import OperationalError as CeleryOperationalError
from kombu.exceptions import OperationalError

from pool.config.settings import load
from pool.nudges import QUEUE
from tests.redis_process import RedisServer
from worker.app import make_app
from worker.broker import RECONNECT_SECONDS


@pytest.fixture
def app(redis_server: RedisServer) -> Iterator[Celery]:
    """Return the worker's application, on a real Redis."""
    app = make_app(load({}, redis_url=redis_server.url(), broker_url=redis_server.url(1)))
    yield app
    app.close()


def test_a_worker_outlives_its_broker(app: Celery, redis_server: RedisServer) -> None:
    """It takes messages again, and tries to connect at a steady interval.

    A message whose acknowledgement was lost is no longer counted as held, or the worker would take
    no other.
    """
    app.send_task("linkpool.sweep", queue=QUEUE)
    with app.connection_for_read() as connection, connection.channel() as channel:
        channel.qos.prefetch_count = 1
        message = channel.basic_get(QUEUE)
        assert message is not None
        assert not channel.qos.can_consume()
        redis_server.kill()
        with pytest.raises(connection.connection_errors):
            message.ack()
        assert channel.qos.can_consume()

    waited: list[float] = []

    def failed(_: Exception, interval: float) -> None:
        waited.append(interval)

    with pytest.raises((OperationalError, CeleryOperationalError)):
        app.connection_for_read().ensure_connection(failed, 3)
    assert set(waited) <= {0, RECONNECT_SECONDS}
    assert waited.count(RECONNECT_SECONDS) >= 2
