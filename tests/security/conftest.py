"""Run one linkpool for the whole folder, with a customer who holds a link."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.product import Product
from tests.security.table import KEY, SID


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Start `linkpool up` with the table's key and meeting."""
    product = Product(
        tmp_path_factory.mktemp("security"),
        SID.decode(),
        PROVIDER_RATE="200",
        ADMIN_KEY=KEY.decode(),
    )
    try:
        product.start()
        product.key = KEY.decode()
        product.put(SID.decode(), min_fresh=20, cover_seconds=0)
        product.slug(SID.decode(), "ann")
        yield product
    finally:
        product.close()
