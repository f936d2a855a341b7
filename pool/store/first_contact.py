"""Connect to a Redis for the first time, and say why a connection to it will never work.

A part tries this before it starts: a failure that lasts would look like an outage that never ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis, SSLConnection

from pool.errors import SettingsError, StoreUnavailable
from pool.store.cluster.client import ClusterRedis
from pool.store.connect import open_redis, store_errors

_NO_SENTINEL = "names as Sentinel what is none; write its address as redis://host:6379"
_UNTRUSTED = (
    "leads to a server whose certificate is not trusted; "
    "name the file of its authority by ?ssl_ca_certs="
)
# Parts of the messages, of a server or of the library, for a connection that will never work; and
# what to do about each.
_HOPELESS = {
    "authentication required": "has no password, and this Redis wants one",
    "invalid username-password": "has a user or password that this Redis refuses",
    "invalid password": "has a password that this Redis refuses",
    "without any password configured": "has a password, and this Redis knows none",
    # With what the library knows of the certificate: its name or its time may be what is wrong.
    "hostname mismatch": "leads to a server whose certificate bears another name than the address",
    "ip address mismatch": "leads to a server whose certificate does not bear this IP address",
    "certificate has expired": "leads to a server whose certificate has expired",
    "certificate verify failed": _UNTRUSTED,
    "certificate_verify_failed": _UNTRUSTED,
    "certificate required": (
        "leads to a server that wants a certificate of its clients; "
        "name it by ?ssl_certfile= and ssl_keyfile="
    ),
    "wrong version number": "speaks TLS by rediss://, and the server there does not",
    "as reply type byte": "leads to a server that is no Redis",
    "db index is out of range": "names a database that this Redis does not have; 0 always exists",
    "cluster support disabled": "is no Redis Cluster; write its address as redis://host:6379",
    "(authenticationerror": (
        "is refused by its Sentinels; their own password is ?sentinel_password=, "
        "and their user sentinel_username"
    ),
    "unknown command 'sentinel'": _NO_SENTINEL,
    "unknown command `sentinel`": _NO_SENTINEL,
    "run the 'select' command": "names a database, and its user may not SELECT; grant +select",
}
_ALERT_SECONDS = 2.0


@asynccontextmanager
async def connected(url: str, setting: str) -> AsyncIterator[Redis]:
    """Yield a client. A failure that will last is raised as SettingsError."""
    redis = open_redis(url, timeout_seconds=5.0, max_connections=1)
    try:
        with store_errors():
            yield redis
    except StoreUnavailable as error:
        said = str(error).lower()
        if "reset by peer" in said:
            said = (await _alert(redis)).lower()
        for text, problem in _HOPELESS.items():
            if text in said:
                raise SettingsError(setting, problem) from None
        raise
    finally:
        await redis.aclose(close_connection_pool=True)


async def _alert(redis: Redis) -> str:
    """Return why a server hangs up on TLS; empty if it does not say.

    Nothing is sent here: a server that has hung up answers what it is sent by a reset, which may
    overtake its alert.
    """
    if isinstance(redis, ClusterRedis):
        return ""
    make: Callable[[], Any] = redis.connection_pool.make_connection
    connection = make()
    if not isinstance(connection, SSLConnection) or not connection.host:
        return ""
    try:
        async with asyncio.timeout(_ALERT_SECONDS):
            reader, writer = await asyncio.open_connection(
                connection.host, connection.port, ssl=connection.ssl_context.get()
            )
            try:
                await reader.read(1)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return str(error)
    return ""
