"""Test the cache of heads: only a caller with a good key can have one kept."""

from __future__ import annotations

import pytest

from tests.security.in_process import Server
from tests.security.table import CLAIMS, KEY, claim, request


@pytest.mark.parametrize(
    "sent",
    [
        claim().replace(KEY, b"wrong", 1),
        request(b"POST", CLAIMS, body=b"{}"),
        claim().replace(b"X-API-Key", b"X-Other", 1),
    ],
    ids=["wrong key", "no key", "key elsewhere"],
)
async def test_a_stranger_cannot_have_a_head_kept(sent: bytes) -> None:
    """Nobody without a key pushes out the heads of good callers."""
    server = Server()
    heads = server.application.lane.heads
    for data, known in ((sent, False), (claim(), True)):
        connection = server.connect()
        connection.arrive(data)
        await server.settle()
        assert (heads.find(data) is not None) is known


async def test_a_known_head_with_an_offer_is_served_the_same() -> None:
    """The bytes of an ignored upgrade are known the second time, and answered alike."""
    server = Server()
    offer = claim(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA")
    said = []
    for _ in range(2):
        connection = server.connect()
        connection.arrive(offer)
        await server.settle()
        said.append(bytes(connection.said))
    assert said[0].startswith(b"HTTP/1.1 200 OK")
    assert said[0] == said[1]
    assert server.application.lane.heads.find(offer) is not None
