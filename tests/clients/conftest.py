"""Provide a running linkpool, and one that answers by a script."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.product import Product, wait_until
from tests.bad_tokens import Forge
from tests.clients.scripted_linkpool import ScriptedLinkpool
from tests.kept import Kept

sys.path.insert(0, str(Path(__file__).parents[2] / "clients" / "python"))

_serial = itertools.count(1)


@pytest.fixture(scope="module")
def product(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Return `linkpool up`, whose meeting `demo` has links."""
    return kept("clients", lambda: Product.running(tmp_path_factory.mktemp("linkpool")))


@pytest.fixture(scope="module")
def signer(product: Product) -> tuple[str, str]:
    """Return the id of a key that may claim and a token secret of it, once linkpool knows them."""
    key_id = product.new_key("--scope", "claim")[3:11]
    done = product.command("tokens", "create-secret", key_id)
    assert done.returncode == 0, done.stderr
    secret = done.stdout.strip()
    token = Forge(key_id, secret, int(time.time())).good()

    def is_known() -> bool:
        answer = product.api("POST", "/v1/embed/claims", key="", json={"token": token})
        return answer.status_code != 401

    wait_until(is_known)
    return key_id, secret


@pytest.fixture
def new_customer() -> Callable[[], str]:
    """Make customer ids that nobody used before."""
    return lambda: f"customer-{next(_serial)}"


@pytest.fixture
def scripted() -> Iterator[ScriptedLinkpool]:
    """Return a server that answers as the test says."""
    with ScriptedLinkpool() as server:
        yield server
