"""Split every row of the table at every byte: where a read ends changes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.security.client import answers_in, cut, expected, methods_of, whole
from tests.security.in_process import Server, Transport
from tests.security.table import ROWS, SENTINEL, Row

# Each place is a connection, and there are 80,000 of them: a third of them by default, all with
# LINKPOOL_SECURITY=long. A row of more bytes than this is split at some hundred places only.
LONG_BYTES = 3_000
STEP = 1 if os.environ.get("LINKPOOL_SECURITY") == "long" else 3


def wrong(row: Row, transport: Transport, pieces: Sequence[bytes]) -> str:
    """Return what is wrong with the answers on a connection, or nothing."""
    try:
        got = answers_in(bytes(transport.said), methods_of(row))
    except ValueError as error:
        got = [str(error)]
    if (got, transport.ended) == (expected(row), row.ends):
        return ""
    return f"{got}, {transport.ended=}, not {expected(row)}; sent {pieces!r:.600}"


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_row_has_one_outcome_wherever_it_is_split(server: Server, row: Row) -> None:
    """Sent whole, and in two pieces for each place between two bytes of it."""
    size = len(row.sent) + len(SENTINEL)
    places = range(1 + size % STEP, size, STEP + size // LONG_BYTES * 40)
    sent = [whole(row), *(cut(row, place) for place in places)]
    connections = [server.connect() for _ in sent]
    for number in range(2):
        for connection, pieces in zip(connections, sent, strict=True):
            if number < len(pieces):
                connection.arrive(pieces[number])
        await server.settle()
    failed = [
        said
        for connection, pieces in zip(connections, sent, strict=True)
        if (said := wrong(row, connection, pieces))
    ]
    for connection in connections:
        connection.abort()
    await server.settle()
    assert not failed, f"{len(failed)} of {len(sent)}: {failed[0]}"


def test_nobody_claimed_but_those_who_asked(server: Server) -> None:
    """No claim out of a body was ever served."""
    assert set(server.application.desk.customers) <= {"ann"}
