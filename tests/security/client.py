"""Speak over raw connections: write in pieces, and read every answer that comes back."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Sequence

from tests.security.table import SENTINEL, Row

SECONDS = 8.0
_IDENTITY = re.compile(rb"\r\nx-request-id: ([^\r]*)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_OURS = re.compile(rb"[0-9a-f]{8}-[0-9a-f]+")  # ids that the server gives itself
SENTINEL_ANSWER = "200 sentinel"


def answers_in(said: bytes, methods: Sequence[bytes] = ()) -> list[str]:
    """Return the answers in these bytes: the status, and the id unless it is the server's own.

    `methods` are those of the requests, since answers to HEAD have no body. What is no whole
    answer raises ValueError.
    """
    found: list[str] = []
    waiting = list(methods)
    while said:
        head, ended, said = said.partition(b"\r\n\r\n")
        if not ended or not head.startswith(b"HTTP/1.1 "):
            raise ValueError(f"no answer: {head!r}")
        status = head[9:12].decode()
        if status == "100":
            found.append(status)
            continue
        method = waiting.pop(0) if waiting else b"GET"
        head += b"\r\n"
        length, identity = _LENGTH.search(head), _IDENTITY.search(head)
        if length is None or identity is None:
            raise ValueError(f"no length or id: {head!r}")
        size = 0 if method == b"HEAD" else int(length[1])
        if len(said) < size:
            raise ValueError(f"{len(said)} bytes of {size} behind {head!r}")
        said = said[size:]
        ours = _OURS.fullmatch(identity[1])
        found.append(status if ours else f"{status} {identity[1].decode()}")
    return found


def methods_of(row: Row) -> list[bytes]:
    """Return the methods of a row's answered requests: those without a body, or the others."""
    return [row.sent.lstrip().split(b" ", 1)[0]]


def expected(row: Row) -> list[str]:
    """Return every answer to a row and the sentinel behind it."""
    return [*row.answers, *([] if row.ends else [SENTINEL_ANSWER])]


def complete(said: bytes, row: Row) -> bool:
    """Return True if nothing more is to come, so that a kept connection need not be waited for."""
    if row.ends:
        return False
    try:
        return answers_in(said, methods_of(row)) == expected(row)
    except ValueError:
        return False


async def exchange(port: int, row: Row, pieces: Sequence[bytes], pause_seconds: float) -> str:
    """Send a row in pieces. Return what is wrong with the answers, or nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            for number, piece in enumerate(pieces):
                if number:
                    await asyncio.sleep(pause_seconds)
                writer.write(piece)
            while not complete(said, row) and (more := await reader.read(65_536)):
                said += more
        if not row.ends:
            await no_more(reader, said)
    except TimeoutError:
        said += b"(nothing more)"
    except ConnectionError:
        said += reader._buffer  # type: ignore[attr-defined] # what came before the reset
    finally:
        writer.close()
    try:
        got = answers_in(bytes(said), methods_of(row))
    except ValueError as error:
        got = [str(error)]
    wanted = expected(row)
    return "" if got == wanted else f"{row.name}: {got}, not {wanted}; sent {pieces!r:.600}"


async def no_more(reader: asyncio.StreamReader, said: bytearray) -> None:
    """Look whether anything stands behind the last answer; it would be there already."""
    try:
        async with asyncio.timeout(0.001):
            said += await reader.read(65_536)
    except TimeoutError:
        pass


def whole(row: Row) -> list[bytes]:
    """Return a row and its sentinel in one write."""
    return [row.sent + SENTINEL]


def bytewise(row: Row) -> list[bytes]:
    """Return it byte by byte, long rows in pieces of a few; behind the end of a connection nothing
    more.
    """
    sent = row.sent + (b"" if row.ends else SENTINEL)
    size = 1 + len(sent) // 1_500
    return [sent[start : start + size] for start in range(0, len(sent), size)]


def cut(row: Row, *places: int) -> list[bytes]:
    """Return it in pieces, cut at these places."""
    sent = row.sent + SENTINEL
    ends = [0, *sorted(places), len(sent)]
    return [sent[start:end] for start, end in itertools.pairwise(ends)]
