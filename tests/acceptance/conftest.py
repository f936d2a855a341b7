"""Start `linkpool up` once for the tests that do not stop or starve it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from product import Product

from tests.kept import Kept

_serial = itertools.count(1)


@pytest.fixture(scope="module")
def shared(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Return a product that several modules use, each test with meetings of its own."""
    return kept("acceptance", lambda: Product.running(tmp_path_factory.mktemp("shared")))


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
