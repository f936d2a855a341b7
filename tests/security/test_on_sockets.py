"""Send the table to a linkpool that runs as its users have it: on sockets, in pieces."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.acceptance.product import Product
from tests.security.client import bytewise, cut, exchange, whole
from tests.security.table import ROWS, SENTINEL, SID, Row, request

TOGETHER = 24  # connections at a time
PAUSE_SECONDS = 0.004  # so that each piece is read by itself, nearly always


def ways(row: Row) -> list[list[bytes]]:
    """Return a row in one write, byte by byte, in two pieces and in three."""
    rng = random.Random(row.name)
    size = len(row.sent) + len(SENTINEL)
    two, three = rng.sample(range(1, size), 1), rng.sample(range(1, size), 2)
    return [whole(row), cut(row, two[0]), cut(row, *three), cut(row, len(row.sent))]


async def run(port: int, sent: list[tuple[Row, list[bytes]]], pause_seconds: float) -> list[str]:
    """Send rows. Return what is wrong with the answers."""
    room = asyncio.Semaphore(TOGETHER)

    async def one(row: Row, pieces: list[bytes]) -> str:
        async with room:
            return await exchange(port, row, pieces, pause_seconds)

    return [said for said in await asyncio.gather(*(one(*each) for each in sent)) if said]


def unharmed(stage: Product) -> None:
    """Check that no customer claimed but those of the rows, and nobody paused the meeting."""
    assert stage.meeting(SID.decode())["state"] != "paused"
    claims = stage.rows("SELECT DISTINCT customer_id FROM links WHERE customer_id IS NOT NULL")
    assert {who for (who,) in claims} <= {"ann"}


async def test_every_row_has_its_outcome(stage: Product) -> None:
    """In one write, in two, in three, and with the sentinel by itself."""
    sent = [(row, pieces) for row in ROWS for pieces in ways(row)]
    wrong = await run(stage.port, sent, PAUSE_SECONDS)
    assert not wrong, f"{len(wrong)} of {len(sent)}: " + "\n".join(wrong[:5])
    unharmed(stage)


async def test_every_row_has_its_outcome_byte_by_byte(stage: Product) -> None:
    """Each byte in a write of its own; reads then end anywhere."""
    sent = [(row, bytewise(row)) for row in ROWS]
    wrong = await run(stage.port, sent, 0)
    assert not wrong, f"{len(wrong)} of {len(sent)}: " + "\n".join(wrong[:5])
    unharmed(stage)


SLOW = {
    "half a line": b"GET /livez HT",
    "half a head": request()[:-2],
    "an upgrade": request(b"GET", b"/livez", b"Connection: Upgrade\r\nUpgrade: foo")[:-2],
    "a body that stops": request(b"POST", b"/nowhere", b"Content-Length: 9") + b"{}",
    "chunks that stop": request(b"POST", b"/nowhere", b"Transfer-Encoding: chunked") + b"9\r\n{}",
    "trailers that stop": request(b"POST", b"/nowhere", b"Transfer-Encoding: chunked")
    + b"0\r\nX: y\r\n",
}


async def test_what_stops_halfway_is_answered_408_and_ends(stage: Product) -> None:
    """Ten seconds are given to a head, and ten to a body; then the connection ends."""

    async def one(name: str, sent: bytes) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(sent)
        try:
            async with asyncio.timeout(25):
                said = await reader.read()
        finally:
            writer.close()
        return "" if said.startswith(b"HTTP/1.1 408 ") else f"{name}: {said!r}"

    wrong = [said for said in await asyncio.gather(*(one(*each) for each in SLOW.items())) if said]
    assert not wrong


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/problems", "/problems/forbidden",
     "/ops", "/v1/meetings", "/v1/meetings/framing", "/v1/events", "/nowhere", "/v1/links/nowhere"],
)  # fmt: skip
def test_head_is_answered_as_get_is(stage: Product, path: str) -> None:
    """With the same status and type, and without a body."""
    get, head = stage.api("GET", path), stage.api("HEAD", path)
    assert head.content == b""
    assert (head.status_code, head.headers.get("content-type")) == (
        get.status_code,
        get.headers.get("content-type"),
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.json"),
     ("GET", "/v1/meetings"), ("GET", "/nowhere"), ("PATCH", "/livez"), ("GET", "/docs"),
     ("POST", "/v1/meetings/framing/claims"), ("POST", "/v1/meetings/nowhere/claims")],
)  # fmt: skip
def test_no_browser_guesses_what_an_answer_is(stage: Product, method: str, path: str) -> None:
    """JSON, metrics, health, problems and pages say that their type is what they are."""
    answer = stage.api(method, path, json={"customer_id": "ann"} if method == "POST" else None)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_allowed_get_is_an_allowed_head(stage: Product) -> None:
    """405 names both."""
    assert stage.api("PATCH", "/livez").headers["allow"] == "GET, HEAD"
