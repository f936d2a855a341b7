"""Give a route its caller, the service of this process, and a valid SID."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from pool.access.api_keys import Caller, Scope
from pool.api.http.messages import address_of, api_key
from pool.api.service import Service
from pool.errors import UnknownMeeting
from pool.model.links import is_sid


def service_of(request: Request) -> Service:
    """Return the service of this process."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request, service: Annotated[Service, Depends(service_of)]) -> Caller:
    """Return the caller whose key the request carries.

    Raise Unauthorized, or Forbidden if the key may not be used from this address.
    """
    caller = service.keys.authenticate(api_key(request.scope["headers"]))
    caller.check_address(address_of(request))
    return caller


async def actor_of(
    caller: Annotated[Caller, Depends(caller_of)], service: Annotated[Service, Depends(service_of)]
) -> Caller:
    """Return the caller of an action, while the ledger takes writes.

    Raise Forbidden if the key may perform no action at all, or LedgerUnavailable.
    """
    caller.check(Scope.ADMIN)
    await service.ledger_ready.check()
    return caller


def known_sid(sid: str) -> str:
    """Return the SID. Raise UnknownMeeting if it is malformed, since no meeting can have it."""
    if not is_sid(sid):
        raise UnknownMeeting("a SID has 1 to 64 letters, digits, hyphens and underscores")
    return sid


TheService = Annotated[Service, Depends(service_of)]
TheCaller = Annotated[Caller, Depends(caller_of)]
TheActor = Annotated[Caller, Depends(actor_of)]
Sid = Annotated[str, Depends(known_sid)]
