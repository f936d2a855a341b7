"""Let pages of other origins call the one route that is made for them, and no other.

Any origin may: what a page proves is in the body, and no cookie or other credential of the browser
is ever read. A public key's list of origins is checked by the route itself.
"""

from __future__ import annotations

import re

from starlette.types import Scope

from pool.api.http.messages import Answer

PATH = "/v1/embed/claims"

_EXPOSED = (b"access-control-expose-headers", b"Retry-After")
_VARY = (b"vary", b"Origin")
PREFLIGHT: Answer = (
    204,
    [
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"Content-Type"),
        (b"access-control-max-age", b"86400"),
        (b"cache-control", b"no-store"),
    ],
    b"",
)

# As browsers write it: `null` from a file or a sandboxed frame.
_origin = re.compile(rb"null|[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9._~:\[\]-]{1,260}")


def origin_of(scope: Scope) -> bytes | None:
    """Return the origin that a browser wrote into the request, or None if there is not just one."""
    found = [value for name, value in scope["headers"] if name == b"origin"]
    return found[0] if len(found) == 1 and _origin.fullmatch(found[0]) else None


def headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return what every answer to this request carries, errors too; nothing on other routes."""
    if scope["path"] != PATH:
        return []
    origin = origin_of(scope)
    if origin is None:
        return [_VARY]
    return [(b"access-control-allow-origin", origin), _VARY, _EXPOSED]


def is_preflight(scope: Scope) -> bool:
    """Return True if a browser asks here what a page may send."""
    return (
        scope["method"] == "OPTIONS"
        and scope["path"] == PATH
        and origin_of(scope) is not None
        and any(name == b"access-control-request-method" for name, _ in scope["headers"])
    )
