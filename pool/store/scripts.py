"""The Lua scripts beside this file, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

# Scripts that stand behind the fence, or read bindings, begin with lua/fence.lua.
_PLAIN = {"take_out", "trim", "budget"}


@cache
def source(name: str) -> str:
    """The full text of a script as Redis is given it."""
    lua = files("pool.store") / "lua"
    text = (lua / f"{name}.lua").read_text("utf-8")
    return text if name in _PLAIN else (lua / "fence.lua").read_text("utf-8") + "\n" + text


@cache
def sha1(name: str) -> str:
    """The digest by which Redis knows the script."""
    return hashlib.sha1(source(name).encode()).hexdigest()  # noqa: S324 - Redis's own naming


async def run(redis: Redis, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """What the script answers. A Redis that does not know it yet is given its text.

    NOSCRIPT says that nothing was run, so sending the text is no repetition.
    """
    try:
        return await redis.evalsha(sha1(name), len(keys), *keys, *args)
    except NoScriptError:
        return await redis.eval(source(name), len(keys), *keys, *args)
