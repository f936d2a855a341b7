"""Run one linkpool for the whole folder, with a customer who holds a link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.product import Product
from tests.kept import Kept
from tests.security.table import KEY, SID


@contextmanager
def _running(directory: Path) -> Iterator[Product]:
    product = Product(directory, SID.decode(), PROVIDER_RATE="200", ADMIN_KEY=KEY.decode())
    try:
        product.start()
        product.key = KEY.decode()
        product.put(SID.decode(), min_fresh=20, cover_seconds=0)
        product.slug(SID.decode(), "ann")
        yield product
    finally:
        product.close()


@pytest.fixture(scope="module")
def stage(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Return `linkpool up` with the table's key and meeting."""
    return kept("security", lambda: _running(tmp_path_factory.mktemp("security")))
