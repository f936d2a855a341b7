"""Send thousands of claims from two hundred clients at once through the whole product.

Filling a pool of 10,000 links takes a minute; on CI there are 2,000, ten for each client.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from product import SLOW, Product, wait_until

CLAIMS = 2_000 if SLOW else 10_000
CLIENTS = 200
REPEATED = CLAIMS // 10  # of the claims, 10 %: by a customer who claimed before
RECORDED_SECONDS = 5.0

Answer = tuple[str, int, str]  # customer, status, slug


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Return a product whose pool is full."""
    directory = tmp_path_factory.mktemp("crowded")
    product = Product(directory, "busy", PROVIDER_RATE="5000", PROVIDER_CONCURRENCY="16")
    try:
        product.start()
        started = time.monotonic()
        product.put("busy", fill=False, min_fresh=CLAIMS, max_fresh=CLAIMS, cover_seconds=0)
        wait_until(
            lambda: product.meeting("busy")["fresh"] >= CLAIMS, 240, every=0.5, what="pool is full"
        )
        seconds = time.monotonic() - started
        print(f"\n  {CLAIMS} links made in {seconds:.1f} s, {CLAIMS / seconds:.0f}/s", end=" ")
        yield product
    finally:
        product.close()


async def client(product: Product, customers: list[str]) -> list[Answer]:
    """Claim for one customer after another over one keep-alive connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", product.port)
    head = (
        "POST /v1/meetings/busy/claims HTTP/1.1\r\nHost: linkpool\r\n"
        f"X-API-Key: {product.key}\r\nContent-Length: "
    )
    answers = []
    try:
        for customer in customers:
            body = json.dumps({"customer_id": customer})
            writer.write(f"{head}{len(body)}\r\n\r\n{body}".encode())
            said = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(said.partition(b"content-length:")[2].partition(b"\r\n")[0])
            claim = json.loads(await reader.readexactly(length))
            slug = claim["claim"]["slug"] if "claim" in claim else ""
            answers.append((customer, int(said[9:12]), slug))
    finally:
        writer.close()
        await writer.wait_closed()
    return answers


async def test_thousands_of_claims_at_once(crowded: Product) -> None:
    """No slug is given twice, repeated claims get the same link, and the ledger has them all."""
    # Every tenth claim repeats a customer, some at the same moment on another connection.
    customers = [f"c{number}" for number in range(CLAIMS - REPEATED)]
    wanted = customers + customers[:: len(customers) // REPEATED][:REPEATED]
    shares = [wanted[number::CLIENTS] for number in range(CLIENTS)]
    started = time.monotonic()
    answers = [
        answer
        for share in await asyncio.gather(*(client(crowded, share) for share in shares))
        for answer in share
    ]
    seconds = time.monotonic() - started
    watch = crowded.stopwatch()
    print(f"\n  {CLAIMS} claims in {seconds:.2f} s, {CLAIMS / seconds:.0f}/s", end=" ")

    assert len(answers) == CLAIMS
    assert {status for _, status, _ in answers} == {200, 201}
    held: dict[str, str] = {}
    for customer, _, slug in answers:
        assert held.setdefault(customer, slug) == slug, "one customer, two links"
    assert len(set(held.values())) == len(held) == CLAIMS - REPEATED, "one slug, two customers"
    assert sum(status == 200 for _, status, _ in answers) == REPEATED

    wait_until(
        lambda: (
            crowded.rows("SELECT count(*) FROM links WHERE state = 'claimed'")[0][0] >= len(held)
        ),
        30,
        what="all is recorded",
    )
    lag = watch.seconds
    print(f"\n  all in the ledger {lag:.2f} s after the last answer", end=" ")
    assert lag <= RECORDED_SECONDS
    rows = crowded.rows("SELECT customer_id, slug FROM links WHERE state = 'claimed'")
    assert dict(rows) == held
    assert crowded.rows("SELECT * FROM audit WHERE action = 'conflict'") == []
