"""Keep web pages away from the control calls, which need no key.

A page that is open in a browser on this machine can send requests here. Such a request can be
recognised: a browser names the page's origin on every POST and PATCH, and a host name that the
page's owner points at this machine (DNS rebinding) is in the Host header.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

CONTROL = "/_control/"
_SAFE_METHODS = ("GET", "HEAD")
_OWN_SITE = ("same-origin", "none")  # none: typed into the address bar


class ControlGuard:
    """Answer 403 to a control call that a foreign web page had a browser send."""

    def __init__(self, app: ASGIApp, public_url: str) -> None:
        self._app = app
        self._names = {"localhost", urlsplit(public_url).hostname}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        reason = self._refusal(scope) if scope["type"] == "http" else None
        app = JSONResponse({"error": reason}, status_code=403) if reason else self._app
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        """Return why this request is refused, or None if it is not."""
        if not scope["path"].startswith(CONTROL):
            return None
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return (
                "Host: control calls are taken under an IP address, localhost, "
                "or the name given with --public-url"
            )
        if scope["method"] in _SAFE_METHODS:
            return None
        foreign = any(site not in _OWN_SITE for site in _values(scope, b"sec-fetch-site"))
        own = (f"http://{hosts[0]}", f"https://{hosts[0]}")
        if foreign or any(origin not in own for origin in _values(scope, b"origin")):
            return "Origin: a web page elsewhere may not make control calls"
        return None

    def _is_ours(self, host: str) -> bool:
        """Return True for an IP address or a local name, since nobody can point these here."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name or "")
        except ValueError:
            return False
        return True


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for key, value in scope["headers"] if key == name]
