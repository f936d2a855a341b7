"""Fill Redis by scripts that run inside it, in the product's own formats.

The links are made up. They have no rows in the ledger, which no claim looks at, unless `rows`
adds them for the recorder.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pool.compose import Parts
from pool.model.links import Link, State
from pool.store import key_names, scripts

# fresh; prefix, first, count, made_at_ms
_FRESH = """
local first, last = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1
for from = first, last, 2000 do
  local scored = {}
  for n = from, math.min(from + 1999, last) do
    scored[#scored + 1] = ARGV[4]
    scored[#scored + 1] = string.format('one-off-%s%08x', ARGV[1], n)
  end
  redis.call('ZADD', KEYS[1], unpack(scored))
end
return redis.call('ZCARD', KEYS[1])
"""

# binding prefix (not a key itself); slug prefix, first, count, ttl_ms
_BINDINGS = """
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000)
for n = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1 do
  redis.call('SET', KEYS[1] .. string.format('%022d', n),
    'cp' .. now .. ':one-off-' .. ARGV[1] .. string.format('%08x', n), 'PX', ARGV[4])
end
return 1
"""

# claims, demand; slug prefix, first, count. A payload is msgpack of a list of one string.
_CLAIMS = """
local first, last = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1
for from = first, last, 64 do
  local slugs, payloads = {}, {}
  for n = from, math.min(from + 63, last) do
    slugs[#slugs + 1] = 'one-off-' .. ARGV[1] .. string.format('%08x', n)
    payloads[#payloads + 1] = '\\145\\175customer-' .. string.format('%06d', n % 1000000)
  end
  append_claims(KEYS[1], KEYS[2], slugs, payloads)
end
return redis.call('XLEN', KEYS[1])
"""

# (a key, whichever); how often. Each look at a key moves one more place of a growing table.
_LOOK = """
for n = 1, tonumber(ARGV[1]) do redis.call('EXISTS', KEYS[1]) end
return 1
"""

# pattern, cursor
_FORGET = """
local found = redis.call('SCAN', ARGV[2], 'MATCH', ARGV[1], 'COUNT', 5000)
for from = 1, #found[2], 1000 do
  redis.call('UNLINK', unpack(found[2], from, math.min(from + 999, #found[2])))
end
return found[1]
"""

_AT_ONCE = 50_000
_ROWS_AT_ONCE = 5_000
_BEYOND = 10**9  # the number of a customer whom no other preload made
_TTL_MS = 30 * 86_400_000


def fresh_links(client: Any, sid: str, count: int, *, prefix: str, first: int = 0) -> int:
    """Add made-up links to a pool. Return its level. `prefix` is 4 hex digits of its own."""
    level = 0
    clock = client.time()[0] * 1000
    for start, part in _parts(first, count):
        level = client.eval(_FRESH, 1, key_names.fresh(sid), prefix, start, part, clock)
    return int(level)


async def rows(parts: Parts, sid: str, count: int, *, prefix: str, first: int = 0) -> None:
    """Add the ledger's rows of made-up links."""
    for start, part in _parts(first, count, _ROWS_AT_ONCE):
        slugs = [f"one-off-{prefix}{n:08x}" for n in range(start, start + part)]
        await parts.ledger.links.insert_fresh(made_up(sid, slugs))


def made_up(sid: str, slugs: list[str], epoch: str = "bench") -> list[Link]:
    """Return fresh links that no provider made."""
    made_at = datetime.now(UTC)
    return [
        Link(
            slug=slug,
            url=f"https://sandbox.neetocal.com/{slug}",
            meeting_sid=sid,
            state=State.FRESH,
            source="pool",
            epoch=epoch,
            created_at=made_at,
        )
        for slug in slugs
    ]


def bindings(client: Any, sid: str, count: int, *, prefix: str, first: int = 0) -> None:
    """Add live bindings of made-up customers."""
    for start, part in _parts(first, count):
        client.eval(_BINDINGS, 1, key_names.binding(sid, ""), prefix, start, part, _TTL_MS)


def outgrow_tables(client: Any, sid: str, *, prefix: str) -> None:
    """Add bindings until Redis has begun to double its tables of keys, which have 2^n places."""
    count = int(client.info("keyspace")["db0"]["expires"])
    bindings(client, sid, 2 ** count.bit_length() + 1 - count, prefix=prefix, first=_BEYOND)


def settle_tables(client: Any) -> None:
    """Wait until Redis has moved all keys to its larger tables."""
    for _, part in _parts(0, 3 * int(client.dbsize())):
        client.eval(_LOOK, 1, key_names.VERSION, part)


def stream(client: Any, sid: str, count: int, *, prefix: str) -> None:
    """Add unrecorded claims, in entries as full as they get."""
    script = scripts.part("stream") + _CLAIMS
    for start, part in _parts(0, count):
        client.eval(script, 2, key_names.claims(sid), key_names.demand(sid), prefix, start, part)


def forget_claims(client: Any, sid: str) -> None:
    """Remove all bindings and unrecorded claims of a meeting. Its epoch stays: a new one would make
    the API processes assert again what they answered.
    """
    cursor: Any = 0
    while True:
        cursor = client.eval(_FORGET, 0, key_names.binding(sid, "*"), cursor)
        if int(cursor) == 0:
            break
    client.xtrim(key_names.claims(sid), maxlen=0, approximate=False)


def level(client: Any, sid: str) -> int:
    """Return the number of links in the pool."""
    return int(client.zcard(key_names.fresh(sid)))


def _parts(first: int, count: int, at_once: int = _AT_ONCE) -> list[tuple[int, int]]:
    return [
        (start, min(at_once, first + count - start))
        for start in range(first, first + count, at_once)
    ]
