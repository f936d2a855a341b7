"""Show the address of a workspace's webhooks, and test it."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.http.mount import url
from pool.api.ops.frame.routing import views
from pool.api.ops.session.flash import done, failed
from pool.api.ops.session.forms import Posted
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.config.own_address import webhook_address
from pool.errors import LedgerUnavailable, UnknownWorkspace
from pool.providers.self_test import send_self_test

router = views()

INBOX = "/ops/inbox"


@dataclass(frozen=True, slots=True)
class HookAddress:
    """The address of a workspace's webhook."""

    workspace: str
    shown: str  # to be pasted at the provider
    tested: str  # where a test is sent


def addresses(request: Request, service: Service) -> list[HookAddress]:
    """Return the webhooks' addresses: as configured, or as this browser reaches linkpool."""
    settings = service.settings
    here = f"{request.url.scheme}://{request.headers.get('host', '')}"
    return [
        HookAddress(
            name,
            webhook_address(settings, name)
            if settings.public_url
            else here + url(f"/v1/webhooks/{name}"),
            webhook_address(settings, name),
        )
        for name in service.parts.providers
    ]


@router.post("/ops/hooks/{workspace}/test")
async def send(workspace: str, request: Request, action: Posted, service: TheService) -> Response:
    """Send a signed test event to the configured address, and show the result."""
    action.caller.check_everywhere(Scope.ADMIN)
    found = service.settings.workspace(workspace)
    if found is None:
        raise UnknownWorkspace("there is no workspace of this name")
    try:
        await service.ledger_ready.check()
    except LedgerUnavailable as error:
        return failed(request, INBOX, f"Nothing was sent: {error}.")
    address = webhook_address(service.settings, workspace)
    result = await send_self_test(found, address)
    detail = {"workspace": workspace, "address": address, "result": result.words}
    await service.parts.ledger.audit.add(action.caller.key_id, "webhook test", None, "", detail)
    said = f"Test delivery to {address}: {result.words}."
    return done(request, INBOX, said) if result.passed else failed(request, INBOX, said)
