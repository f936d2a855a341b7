"""Refuse or delay requests that prove nothing, before their bodies are read.

Otherwise anybody could make the server buffer, decode and route their requests. The route
checks a request that passes again, because it knows which scope the key needs.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from starlette.types import Scope

from pool.api.http.messages import api_key, wait_for_turn
from pool.api.service import Service
from pool.errors import (
    BadSignature,
    Forbidden,
    InvalidRequest,
    LinkpoolError,
    Unauthorized,
    UnknownWorkspace,
)
from pool.model.outcomes import webhooks_of
from pool.providers.signatures import SIGNATURE_HEADER, signature_of

WEBHOOKS = "/v1/webhooks/"
_KEYED = "/v1/"
QUERY_FIELDS = 64  # every route decodes all of them, whether it uses them or not
_EMBED = "/v1/embed/"
KEYLESS = (WEBHOOKS, _EMBED)  # these have a proof of another kind
_SCRIPTS = "/embed"
_METRICS = "/metrics"
_PROBES = frozenset((_METRICS, "/livez", "/readyz", "/healthz"))
_SIGNATURE = SIGNATURE_HEADER.encode()


class Gate:
    """The check in front of the routes of one API process."""

    def __init__(self, service: Service, signed_in: Callable[[Scope], bool]) -> None:
        self._keys = service.keys
        self._doors = service.doors
        self._providers = service.parts.providers
        self._webhooks = service.parts.metrics.webhooks
        self._outcomes = service.parts.outcomes
        self._signed_in = signed_in
        metrics_key = service.settings.metrics_key
        self._metrics_key: bytes | None = None
        if metrics_key is not None:
            self._metrics_key = metrics_key.get_secret_value().encode()

    async def check(self, scope: Scope) -> bool:
        """Return once the body of the request may be read: True if it proves something.

        Raise Unauthorized, Forbidden, LedgerUnavailable, UnknownWorkspace, BadSignature or
        InvalidRequest. Nothing here depends on the size of the body.
        """
        client = scope.get("client")
        address = client[0] if client else ""
        try:
            if self._proves_something(scope, address):
                return True
        except LinkpoolError:
            await self._wait(scope, address)
            raise
        await self._wait(scope, address)
        return False

    async def _wait(self, scope: Scope, address: str) -> None:
        path: str = scope["path"]
        if path.startswith(_EMBED):
            seconds = self._doors.turn_of_visitor(address)
        elif path.startswith(_SCRIPTS):
            seconds = self._doors.turn_of_script(address)
        elif path in _PROBES:
            seconds = self._doors.turn_of_probe(address)
        else:
            seconds = self._doors.turn(address)
        if seconds:
            await wait_for_turn(scope, seconds)

    def _proves_something(self, scope: Scope, address: str) -> bool:
        if scope["query_string"].count(b"&") >= QUERY_FIELDS:
            raise InvalidRequest("invalid request", [f"query: over {QUERY_FIELDS} fields"])
        path: str = scope["path"]
        if path.startswith(WEBHOOKS):
            self._check_webhook(scope, path[len(WEBHOOKS) :].rstrip("/"), address)
            # If its signature turns out to be wrong, the route delays its answer.
            return self._doors.sends_webhooks(address)
        if path.startswith(_KEYED) and not path.startswith(KEYLESS):
            self._check_key(scope, address)
            return True
        if path.startswith("/ops"):
            return self._signed_in(scope)
        if path == _METRICS and self._metrics_key is not None:
            return hmac.compare_digest(api_key(scope["headers"]) or b"", self._metrics_key)
        return False

    def _check_key(self, scope: Scope, address: str) -> None:
        try:
            self._keys.authenticate(api_key(scope["headers"])).check_address(address)
        except (Unauthorized, Forbidden):
            self._doors.failed("api", address)
            raise

    def _check_webhook(self, scope: Scope, workspace: str, address: str) -> None:
        if scope["method"] != "POST":
            return
        provider = self._providers.get(workspace)
        if provider is None:
            self._doors.failed("webhook", address)
            raise UnknownWorkspace("there is no workspace with this name")
        if not provider.can_verify:
            return  # the route answers with the setting that is missing
        given = [value for name, value in scope["headers"] if name == _SIGNATURE]
        try:
            signature_of([value.decode("latin-1") for value in given])
        except BadSignature:
            self._webhooks.labels(workspace, "unknown", "bad-signature").inc()
            self._outcomes.count(webhooks_of(workspace), "bad_signature")
            self._doors.failed("webhook", address)
            raise
