"""Answer every request with as many bytes as a claim's answer has, and do nothing else.

    python -m bench.contestants.noop_app    serves it exactly as linkpool's API is served

The ceiling of Python HTTP here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from unittest import mock

import uvicorn

BODY = (
    b'{"claim":{"meeting_sid":"bench-linkpool-2","customer_id":"0123456789abcdef01234567",'
    b'"slug":"one-off-c5530bc7c9ab","url":"https://sandbox.neetocal.com/one-off-c5530bc7c9ab",'
    b'"state":"claimed","source":"pool","claimed_at":"2026-11-22T06:00:00.000Z",'
    b'"consumed_at":null,"booking_sid":null},"reused":false,"embed":{"type":"inline",'
    b'"organization":"sandbox","slug":"one-off-c5530bc7c9ab","queryParams":{"dynamicHeight":true}}}'
)
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"content-length", str(len(BODY)).encode()),
]
Message = MutableMapping[str, Any]


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer an ASGI request."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 201, "headers": list(_HEADERS)})
    await send({"type": "http.response.body", "body": BODY})


def make_app() -> Any:
    """Build the application that each server process runs."""
    return app


class _Configured(Exception):
    """The API has named the arguments of its server."""


def serve_as_the_api_is() -> None:
    """Serve with the arguments that linkpool's API gives its server."""
    from pool.api.server.serve import serve
    from pool.config.settings import load

    configured = mock.patch.object(uvicorn, "Config", side_effect=_Configured)
    with configured as config, suppress(_Configured):
        serve(load())
    uvicorn.run("bench.contestants.noop_app:make_app", **config.call_args.kwargs)


if __name__ == "__main__":
    serve_as_the_api_is()
