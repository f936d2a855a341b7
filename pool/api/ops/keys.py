"""Keys: who may call, seen and changed by admins of all meetings."""

from __future__ import annotations

import re

from fastapi import Request, Response

from pool.api.access import TheService
from pool.api.ops.acting import outcome
from pool.api.ops.forms import Form, Posted
from pool.api.ops.notices import failed
from pool.api.ops.rendering import render
from pool.api.ops.routing import views
from pool.api.ops.sessions import SignedIn
from pool.errors import InvalidRequest
from pool.keys import Scope, issue_key, revoke_key
from pool.links import is_sid

router = views()

HERE = "/ops/keys"
_MEETINGS_MAX_CHARACTERS = 4_000


@router.get(HERE)
async def keys(request: Request, session: SignedIn, service: TheService) -> Response:
    """All keys, those that are good first."""
    session.caller.check_everywhere(Scope.ADMIN)
    found = await service.parts.ledger.keys.all()
    return render(
        request,
        "keys.html",
        session,
        title="Keys",
        live=[each for each in reversed(found) if each.revoked_at is None],
        revoked=[each for each in reversed(found) if each.revoked_at is not None],
        from_environment=service.settings.admin_key is not None,
    )


@router.post(HERE)
async def create(request: Request, action: Posted, service: TheService) -> Response:
    """Makes a key and shows it.

    On the answer itself and not on a page after it: a secret belongs in no cookie and no
    address. Sending the form again makes another key, which the list shows.
    """
    action.caller.check_everywhere(Scope.ADMIN)
    try:
        scopes = _scopes(action.form)
        meetings = _meetings(action.form)
        label = action.form.text("label", label="Whose key", required=True, max_characters=100)
    except InvalidRequest as error:
        return failed(request, HERE, f"No key was made: {'; '.join(error.errors)}.")
    key, kept = await issue_key(service.parts.ledger, scopes, meetings, label, action.caller.key_id)
    return render(request, "key_made.html", action.session, title="New key", key=key, kept=kept)


@router.post(HERE + "/{key_id}/revoke")
async def revoke(key_id: str, request: Request, action: Posted, service: TheService) -> Response:
    """Revokes a key."""
    action.caller.check_everywhere(Scope.ADMIN)

    async def work() -> str:
        await revoke_key(service.parts.ledger, key_id, action.caller.key_id, action.reason)
        return f"Revoked {key_id}. It stops working within 5 seconds."

    return await outcome(request, HERE, work())


def _scopes(form: Form) -> frozenset[str]:
    scopes = frozenset(scope.value for scope in Scope if form.fields.get(f"scope-{scope}"))
    if not scopes:
        raise InvalidRequest("choose what the key may do: claim, read or admin")
    return scopes


def _meetings(form: Form) -> frozenset[str] | None:
    text = form.text("meetings", label="Meetings", max_characters=_MEETINGS_MAX_CHARACTERS)
    sids = frozenset(filter(None, re.split(r"[\s,]+", text)))
    if wrong := sorted(sid for sid in sids if not is_sid(sid)):
        raise InvalidRequest(f"{wrong[0]} is not a SID: 1 to 64 letters, digits, - and _")
    return sids or None
