"""What is refused before its body is read: requests that nothing in the body could save.

To buffer, decode and route them would be work that anybody can ask for. Whoever passes here
is looked at again by the route, which knows what the key must be good for.
"""

from __future__ import annotations

from starlette.types import Scope

from pool.api.http import api_key
from pool.api.service import Service
from pool.errors import BadSignature, Forbidden, Unauthorized, UnknownWorkspace
from pool.providers.webhooks import SIGNATURE_HEADER, signature_of

WEBHOOKS = "/v1/webhooks/"
_KEYED = "/v1/"
_KEYLESS = (WEBHOOKS, "/v1/embed/")  # what has a proof of another kind
_SIGNATURE = SIGNATURE_HEADER.encode()


class Gate:
    """Stands in front of the routes of one API process."""

    def __init__(self, service: Service) -> None:
        self._keys = service.keys
        self._doors = service.doors
        self._providers = service.parts.providers
        self._webhooks = service.parts.metrics.webhooks

    def check(self, scope: Scope) -> None:
        """Return if the request is worth being read.

        Raise Unauthorized, Forbidden, LedgerUnavailable, UnknownWorkspace, BadSignature or
        RateLimited. Nothing here depends on the size of the body.
        """
        path: str = scope["path"]
        if path.startswith(WEBHOOKS):
            self._check_webhook(scope, path[len(WEBHOOKS) :].rstrip("/"))
        elif path.startswith(_KEYED) and not path.startswith(_KEYLESS):
            self._check_key(scope)

    def _check_key(self, scope: Scope) -> None:
        client = scope.get("client")
        address = client[0] if client else ""
        try:
            self._keys.authenticate(api_key(scope["headers"])).check_address(address)
        except (Unauthorized, Forbidden):
            self._doors.failed("api", address)
            raise

    def _check_webhook(self, scope: Scope, workspace: str) -> None:
        client = scope.get("client")
        address = client[0] if client else ""
        self._doors.check("webhook", address)
        if scope["method"] != "POST":
            return
        provider = self._providers.get(workspace)
        if provider is None:
            self._doors.failed("webhook", address)
            raise UnknownWorkspace("there is no workspace of this name")
        if not provider.can_verify:
            return  # the route says what to set
        given = [value for name, value in scope["headers"] if name == _SIGNATURE]
        try:
            signature_of([value.decode("latin-1") for value in given])
        except BadSignature:
            self._webhooks.labels(workspace, "unknown", "bad-signature").inc()
            self._doors.failed("webhook", address)
            raise
