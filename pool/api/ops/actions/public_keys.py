"""Make and revoke the public keys of a meeting, which the meeting's page shows."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from pool.access.api_keys import Scope
from pool.access.public_keys import issue_public_key, revoke_public_key
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.routing import views
from pool.api.ops.session.forms import Posted
from pool.api.routes.access import Sid, TheService

router: APIRouter = views()

_ORIGINS_MAX_CHARACTERS = 4_000


@router.post("/ops/meetings/{sid}/public-keys")
async def make(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Make a public key for the origins that were typed."""
    action.caller.check(Scope.ADMIN, sid)
    action.session.check_keys()

    async def work() -> str:
        origins = action.form.text(
            "origins", label="Origins", required=True, max_characters=_ORIGINS_MAX_CHARACTERS
        )
        label = action.form.text("label", label="Note", max_characters=100)
        key = await issue_public_key(
            service.parts.ledger, sid, origins.split(), label, action.caller.key_id
        )
        await service.public_claims.refresh()  # this process at once; others within seconds
        return f"Made {key.id}. Pages of its origins may claim with it within 5 seconds."

    return await outcome(request, _section(sid), work(), action.form)


@router.post("/ops/meetings/{sid}/public-keys/{public_key}/revoke")
async def revoke(
    sid: Sid, public_key: str, request: Request, action: Posted, service: TheService
) -> Response:
    """Revoke a public key of this meeting."""
    action.caller.check(Scope.ADMIN, sid)
    action.session.check_keys()

    async def work() -> str:
        reason = action.reason
        await revoke_public_key(
            service.parts.ledger, public_key, action.caller.key_id, reason, sid=sid
        )
        await service.public_claims.refresh()
        return f"Revoked {public_key}. It stops working within 5 seconds."

    return await outcome(request, _section(sid), work(), action.form)


def _section(sid: str) -> str:
    return f"/ops/meetings/{sid}#public-keys"
