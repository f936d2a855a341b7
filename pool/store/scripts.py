"""Load and run the Lua scripts in the folder beside this file, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from pool.store.cluster.topology import LOST
from pool.store.cluster.wire import ClusterWire
from pool.store.connect import masters_of, store_errors
from pool.store.wire import Wire

# Scripts that stand behind the fence, or read bindings, begin with lua/fence.lua; those that
# write to the claims stream, or measure it, have lua/stream.lua after that.
_PLAIN = {
    "take_out",
    "budget",
    "turn",
    "unlock",
    "extend_lock",
    "probe",
    "pulse",
    "admit_visitor",
    "clear",
}
_STREAM = {"claim", "public_claim", "bind", "redo", "look", "replace"}
_MADE_OF = {"public_claim": ("reserve", "claim")}
TOGETHER = "_together"  # ends the name of a script that does what another does, several times


@cache
def source(name: str) -> str:
    """Return the full text of a script as Redis gets it."""
    once = name.removesuffix(TOGETHER)
    parts = [] if once in _PLAIN else [part("fence")]
    parts += [part("stream")] if once in _STREAM else []
    body = [part(each) for each in _MADE_OF.get(once, (once,))]
    if name != once:
        body = ["local function claim(KEYS, ARGV)", *body, "end", part("together")]
    return "\n".join([*parts, *body])


def part(name: str) -> str:
    """Return the text of one file of the folder lua/."""
    return (files("pool.store") / "lua" / f"{name}.lua").read_text("utf-8")


@cache
def sha1(name: str) -> str:
    """Return the digest by which Redis knows the script."""
    return hashlib.sha1(source(name).encode()).hexdigest()  # noqa: S324 - Redis's own naming


async def run(
    redis: Redis | Wire | ClusterWire, name: str, keys: Sequence[str], args: Sequence[Any]
) -> Any:
    """Run a script and return its reply. A Redis that does not know the script gets its text.

    NOSCRIPT means that nothing was run, so sending the text then repeats nothing. Raise
    StoreUnavailable.
    """
    with store_errors():
        try:
            return await redis.evalsha(sha1(name), len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(source(name), len(keys), *keys, *args)


async def load(redis: Redis, name: str) -> None:
    """Make every server that holds pools know a script, but masters of a Cluster that are away."""
    masters = await masters_of(redis)
    for master in masters:
        try:
            await master.script_load(source(name))
        except LOST:
            if len(masters) == 1:
                raise


def is_unknown(reply: object) -> bool:
    """Return True if a server's reply says that it does not know the script."""
    return isinstance(reply, NoScriptError) or (
        isinstance(reply, Exception) and "NOSCRIPT" in str(reply)
    )
