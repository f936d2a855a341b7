"""Turn the scripts' replies into the records that the store returns."""

from __future__ import annotations

from typing import Any

import msgspec

from pool.errors import Fenced, StoreUnavailable, UnknownMeeting
from pool.store.bindings import unpack
from pool.store.blocks import as_block
from pool.store.connect import store_error
from pool.store.records import Answer, Batch, Fence, Level, Outcome, Replaced, Replacing, Totals

_HEAT_TAU_SECONDS = 30.0  # lua/claim.lua has the same in milliseconds
_ANSWERS = {
    "n": Outcome.NEW,
    "o": Outcome.REUSED,
    "e": Outcome.EMPTY,
    "p": Outcome.PAUSED,
    "l": Outcome.LIMITED,
}
_REPLACED = {
    "n": Replaced.NEW,
    "o": Replaced.BEFORE,
    "g": Replaced.NONE,
    "x": Replaced.BOOKED,
    "e": Replaced.EMPTY,
    "p": Replaced.PAUSED,
}


def as_batch(reply: Any, echo: str, sid: str) -> Batch:
    """Return the batch in a claim script's reply.

    Raise the error that the reply is, or as `expect` does.
    """
    if isinstance(reply, Exception):
        raise store_error(reply)
    expect(reply, echo, sid)
    return Batch([as_answer(part) for part in reply[4:]], reply[2], reply[3] == 1)


def expect(reply: list[Any], echo: str, sid: str) -> None:
    """Raise an error unless the reply answers this very call and the script did its work.

    The error is StoreUnavailable, Fenced or UnknownMeeting.
    """
    if reply[0] != echo.encode():
        raise StoreUnavailable("Redis: the reply belongs to another call")
    if reply[1] == b"fenced":
        raise Fenced(sid)
    if reply[1] == b"unpublished":
        raise UnknownMeeting(f"meeting {sid} is not published in Redis")


def as_answer(part: bytes) -> Answer:
    """Return one customer's part of a reply, whose form lua/claim.lua documents."""
    text = part.decode()
    outcome = _ANSWERS[text[0]]
    return Answer(outcome, unpack(text[1:]) if len(text) > 1 else None)


def as_replacing(part: bytes) -> Replacing:
    """Return the replace script's result, whose form lua/replace.lua documents."""
    text = part.decode()
    return Replacing(_REPLACED[text[0]], unpack(text[1:]) if len(text) > 1 else None)


FOREIGN = "foreign:"  # begins the epoch of a pool whose links another ledger made


def fence_of(epoch: str, identity: str) -> Fence:
    """Return the fence of a pool with this epoch on the server named `identity`."""
    if epoch.startswith(f"{identity}:"):
        return "stands"
    if epoch.startswith(FOREIGN):
        return "foreign"
    sealed, _, rest = epoch.partition(":")
    by = rest.partition(":")[2]
    return "sealed" if sealed == "sealed" and by == identity else "fallen"


def as_level(sid: str, now_ms: int, identity: str, reply: list[Any]) -> Level:
    """Return one pool's level from a reply, whose order lua/look.lua documents."""
    if len(reply) == 1:
        return unreadable(sid, now_ms, reply[0].decode())
    try:
        return _level(sid, now_ms, identity, reply)
    except (ValueError, msgspec.MsgspecError) as error:
        return unreadable(sid, now_ms, str(error))


def _level(sid: str, now_ms: int, identity: str, reply: list[Any]) -> Level:
    epoch, fresh, backlog, heat, heat_at, oldest, block, digest, target, *totals = reply
    idle_seconds = max(0.0, (now_ms - float(heat_at)) / 1000)
    return Level(
        sid=sid,
        fresh=fresh,
        fence=fence_of(epoch.decode(), identity),
        epoch=epoch.decode(),
        backlog=backlog,
        claims_per_second=decayed_rate(float(heat), idle_seconds),
        oldest_fresh_seconds=max(0.0, (now_ms - float(oldest)) / 1000) if oldest else None,
        block=as_block(block),
        published=digest.decode(),
        target=int(target) if target else None,
        now_ms=now_ms,
        totals=Totals(*totals),
    )


def unreadable(sid: str, now_ms: int, problem: str) -> Level:
    """Return the level of a pool whose keys cannot be read: nothing may be done with it."""
    return Level(
        sid=sid,
        fresh=0,
        fence="unreadable",
        epoch="",
        backlog=0,
        claims_per_second=0.0,
        oldest_fresh_seconds=None,
        block=None,
        published="",
        target=None,
        now_ms=now_ms,
        totals=Totals(),
        problem=problem,
    )


def decayed_rate(heat: float, idle_seconds: float) -> float:
    """Return claims per second, from a decaying count that was last changed `idle_seconds` ago."""
    rate: float = heat * 2.718281828459045 ** (-idle_seconds / _HEAT_TAU_SECONDS)
    return rate / _HEAT_TAU_SECONDS if rate > 1e-3 else 0.0
