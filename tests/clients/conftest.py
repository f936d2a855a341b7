"""Share a linkpool that runs, and one that acts by script."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.product import Product, wait_until
from tests.clients.scripted_linkpool import ScriptedLinkpool

sys.path.insert(0, str(Path(__file__).parents[2] / "clients" / "python"))

_serial = itertools.count(1)


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """`linkpool up`, whose meeting `demo` has links."""
    product = Product(tmp_path_factory.mktemp("linkpool"), "demo", PROVIDER_RATE="200")
    try:
        product.start()
        wait_until(lambda: product.meeting("demo")["fresh"] >= 50, 30)
        yield product
    finally:
        product.close()


@pytest.fixture
def new_customer() -> Callable[[], str]:
    """Make customer ids that nobody used before."""
    return lambda: f"customer-{next(_serial)}"


@pytest.fixture
def scripted() -> Iterator[ScriptedLinkpool]:
    """A server that answers as the test says."""
    with ScriptedLinkpool() as server:
        yield server
