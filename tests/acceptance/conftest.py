"""Start `linkpool up` once for the tests that do not stop or starve it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING

import pytest
from product import PROBE_SECONDS, Product
from receiver import Receiver

from tests.kept import Kept

if TYPE_CHECKING:
    from observed import Collector

_serial = itertools.count(1)


@pytest.fixture(scope="module")
def shared(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Return a product that several modules use, each test with meetings of its own."""
    return kept("acceptance", lambda: Product.running(tmp_path_factory.mktemp("shared")))


@pytest.fixture(scope="module")
def receiver(kept: Kept) -> Receiver:
    """Return a webhook that anybody may write to."""
    return kept("receiver", lambda: closing(Receiver()))


@pytest.fixture(scope="module")
def probing(kept: Kept, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Return a product that notices a provider's trouble soon.

    It probes a broken provider every 2 s and waits 1 s for each answer. Its operators get notices;
    the address comes from a file.
    """

    def start() -> AbstractContextManager[Product]:
        directory = tmp_path_factory.mktemp("probing")
        (directory / "url").write_text(receiver.url + "\n")
        return Product.running(
            directory,
            NOTIFY_URL_FILE=str(directory / "url"),
            PROBE_SECONDS=str(PROBE_SECONDS),
            PROVIDER_RATE="10",  # at which it begins; it finds by itself what is allowed
            PROVIDER_TIMEOUT_SECONDS="1",
            SWEEP_SECONDS="1",
        )

    return kept("probing", start)


@pytest.fixture(scope="module")
def collector(kept: Kept) -> Collector:
    """Return the collector of the traces of the product that says all."""
    # It needs a library that the lowest allowed versions are tried without.
    from observed import Collector

    return kept("collector", lambda: closing(Collector()))


@pytest.fixture(scope="module")
def talkative(
    kept: Kept, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Product:
    """Return a product of two API processes that logs all that it can, and is traced."""
    return kept(
        "talkative",
        lambda: Product.running(
            tmp_path_factory.mktemp("talkative"),
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds
            },
            API_WORKERS="2",
            LOG_LEVEL="debug",
        ),
    )


@pytest.fixture
def product(shared: Product) -> Product:
    """Return the shared product, with a provider that behaves."""
    return shared


@pytest.fixture
def new_meeting(product: Product) -> Callable[..., str]:
    """Add a meeting with a full pool, by default of 5 links. Return its SID."""

    def add(*, fill: bool = True, **settings: object) -> str:
        sid = f"meeting-{next(_serial)}"
        product.put(sid, fill=fill, **({"min_fresh": 5, "cover_seconds": 0} | settings))
        return sid

    return add


@pytest.fixture
def sid(new_meeting: Callable[..., str]) -> str:
    """Return a meeting of 5 links, of this test alone."""
    return new_meeting()
