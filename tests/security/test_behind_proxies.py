"""Test that behind each proxy, with kept upstream connections, nobody gets another's answer.

A few thousand requests by default; `LINKPOOL_SECURITY=long pytest -n 0 -s
tests/security/test_behind_proxies.py` sends 100,000 through each.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.product import Product
from tests.security import proxies
from tests.security.duel import Duel
from tests.security.table import SID

LONG = os.environ.get("LINKPOOL_SECURITY") == "long"
REQUESTS = 100_000 if LONG else 800


@pytest.mark.parametrize("name", proxies.PROXIES)
async def test_two_clients_never_see_each_others_answers(
    stage: Product, tmp_path: Path, name: str
) -> None:
    """One of them hostile and without a key: no answer to the wrong one, and nothing runs that
    nobody sent."""
    with proxies.running(name, tmp_path, stage.port) as port:
        duel = Duel(port)
        await duel.fight(REQUESTS, honest=12 if LONG else 3, hostile=24 if LONG else 6)
    print(f"{name}: {duel.sent} requests, {len(duel.wrong)} wrong, {dict(duel.counts)}")
    assert not duel.wrong, "\n".join(duel.wrong)
    answered = duel.counts["honest: 200"]
    lost = sum(count for what, count in duel.counts.items() if what.startswith("honest")) - answered
    assert answered > REQUESTS / 20
    assert lost <= answered / 20, duel.counts
    assert duel.counts["hostile: answered"] > 50
    assert stage.meeting(SID.decode())["state"] != "paused"
    claims = stage.rows("SELECT DISTINCT customer_id FROM links WHERE customer_id IS NOT NULL")
    assert {who for (who,) in claims} <= {"ann"}
