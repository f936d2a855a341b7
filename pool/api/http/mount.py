"""Translate between this server's paths and their outside addresses, below LINKPOOL_ROOT_PATH.

Inside, every place is named without the prefix: routes, redirects, cookies, templates. It is added
where an address leaves, by `url` and `redirect_to`, and taken off where one arrives, by
`pool/api/server/mounted.py`; so it does not matter whether a proxy takes it off, too.
"""

from __future__ import annotations

from fastapi.responses import RedirectResponse

# Of the whole process, as the server's port is: problems are written where there is no request.
_root = ""


def mount(root_path: str) -> None:
    """Set the prefix of this process; it was checked when the settings were read."""
    global _root
    _root = root_path


def url(place: str) -> str:
    """Return the outside address of a path of this server, such as `/ops/find?q=x`."""
    return _root + place


def place_of(address: bytes) -> bytes:
    """Return the path of this server that an outside address names, without the prefix."""
    root = _root.encode()
    rest = address[len(root) :]
    if not address.startswith(root) or rest[:1] not in (b"", b"/", b"?"):
        return address
    return rest if rest[:1] == b"/" else b"/" + rest


def redirect_to(place: str) -> RedirectResponse:
    """Return a redirect that makes a browser GET a place of this server."""
    return RedirectResponse(url(place), 303)
