"""The Lua scripts beside this file, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from pool.store.wire import Wire

# Scripts that stand behind the fence, or read bindings, begin with lua/fence.lua; those that
# write to the claims stream, or measure it, have lua/stream.lua after that.
_PLAIN = {"take_out", "budget", "turn", "unlock", "extend_lock"}
_STREAM = {"claim", "bind", "redo", "look", "replace"}


@cache
def source(name: str) -> str:
    """The full text of a script as Redis is given it."""
    parts = [] if name in _PLAIN else ["fence"]
    parts += ["stream"] if name in _STREAM else []
    return "\n".join(part(each) for each in (*parts, name))


def part(name: str) -> str:
    """The text of one file beside this one."""
    return (files("pool.store") / "lua" / f"{name}.lua").read_text("utf-8")


@cache
def sha1(name: str) -> str:
    """The digest by which Redis knows the script."""
    return hashlib.sha1(source(name).encode()).hexdigest()  # noqa: S324 - Redis's own naming


async def run(redis: Redis | Wire, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """What the script answers. A Redis that does not know it yet is given its text.

    NOSCRIPT says that nothing was run, so sending the text is no repetition.
    """
    try:
        return await redis.evalsha(sha1(name), len(keys), *keys, *args)
    except NoScriptError:
        return await redis.eval(source(name), len(keys), *keys, *args)
