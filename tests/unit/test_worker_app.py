"""The Celery application's own ways."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import OperationalError as CeleryOperationalError
from kombu.exceptions import OperationalError

from pool.settings import load
from pool.up import ports
from worker.app import RECONNECT_SECONDS, make_app


def test_a_broker_that_is_away_is_tried_again_soon() -> None:
    """Every try comes as soon as the one before; the default would wait longer each time."""
    url = f"redis://127.0.0.1:{ports.choose()}/1"
    app = make_app(load({}, redis_url=url, broker_url=url))
    waited: list[float] = []

    def failed(_: Exception, interval: float) -> None:
        waited.append(interval)

    with pytest.raises((OperationalError, CeleryOperationalError)):
        app.connection_for_read().ensure_connection(failed, 3)
    assert waited
    assert set(waited) <= {0, RECONNECT_SECONDS}
    assert waited.count(RECONNECT_SECONDS) >= 2


def test_it_has_every_task(tmp_path: Any) -> None:
    """And none that is run by the name of another."""
    app = make_app(load({}, redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path))
    names = {name for name in app.tasks if name.startswith("linkpool.")}
    assert names >= {"linkpool.sweep", "linkpool.recover", "linkpool.top_up", "linkpool.record"}
