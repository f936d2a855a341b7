"""Show and change API keys, for admins of all meetings."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from fastapi import Request, Response

from pool.access.api_keys import Scope, issue_key, revoke_key, rotate_key
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.flash import failed
from pool.api.ops.session.forms import Form, Posted
from pool.api.ops.session.sessions import SignedIn
from pool.api.routes.access import TheService
from pool.config.networks import networks_of
from pool.errors import InvalidRequest, LinkpoolError
from pool.model.links import is_sid

router = views()

HERE = "/ops/keys"
_MEETINGS_MAX_CHARACTERS = 4_000


@router.get(HERE)
async def keys(request: Request, session: SignedIn, service: TheService) -> Response:
    """Show all keys, the valid ones first."""
    session.caller.check_everywhere(Scope.ADMIN)
    session.check_keys()
    found = await service.parts.ledger.keys.all()
    now = datetime.now(UTC)
    return render(
        request,
        "keys.html",
        session,
        title="Keys",
        live=[each for each in reversed(found) if each.good_at(now)],
        gone=[each for each in reversed(found) if not each.good_at(now)],
        yours=next((each for each in found if each.id == session.caller.key_id), None),
        from_environment=service.settings.admin_key is not None,
    )


@router.post(HERE)
async def create(request: Request, action: Posted, service: TheService) -> Response:
    """Create a key and show it.

    The key is in the answer itself, not on a page after a redirect: a secret belongs in no
    cookie and no address. Sending the form again creates another key, which the list shows.
    """
    action.caller.check_everywhere(Scope.ADMIN)
    action.session.check_keys()
    try:
        scopes = _scopes(action.form)
        meetings = _meetings(action.form)
        networks = _networks(action.form)
        days = _number(action.form, "expires-in-days", "Expires after", 36_500)
        await service.ledger_ready.check()
        key, kept = await issue_key(
            service.parts.ledger,
            scopes,
            meetings,
            action.form.text("label", label="Owner", required=True, max_characters=100),
            action.caller.key_id,
            expires_at=datetime.now(UTC) + timedelta(days) if days else None,
            networks=networks,
        )
    except LinkpoolError as error:
        return _not_created(request, f"{HERE}#new", error, action.form)
    return render(request, "key_made.html", action.session, title="New key", key=key, kept=kept)


@router.post(HERE + "/{key_id}/rotate")
async def rotate(key_id: str, request: Request, action: Posted, service: TheService) -> Response:
    """Create a key that replaces another, and show it. The old key works for the overlap."""
    action.caller.check_everywhere(Scope.ADMIN)
    action.session.check_keys()
    try:
        hours = _number(action.form, "overlap-hours", "Hours of overlap", 8_760) or 0
        await service.ledger_ready.check()
        key, kept = await rotate_key(
            service.parts.ledger, key_id, hours * 3600, action.caller.key_id, action.reason
        )
    except LinkpoolError as error:
        return _not_created(request, HERE, error, action.form)
    return render(request, "key_made.html", action.session, title="New key", key=key, kept=kept)


@router.post(HERE + "/{key_id}/revoke")
async def revoke(key_id: str, request: Request, action: Posted, service: TheService) -> Response:
    """Revoke a key."""
    action.caller.check_everywhere(Scope.ADMIN)
    action.session.check_keys()

    async def work() -> str:
        await revoke_key(service.parts.ledger, key_id, action.caller.key_id, action.reason)
        await service.keys.refresh()  # this process at once; others within seconds
        return f"Revoked {key_id}. It stops working within 5 seconds."

    return await outcome(request, HERE, work(), action.form)


def _not_created(request: Request, place: str, error: LinkpoolError, form: Form) -> Response:
    """Return a redirect that says why no key was created, and fills the form in again."""
    why = "; ".join(error.errors) if isinstance(error, InvalidRequest) else str(error)
    return failed(request, place, f"No key was created: {why}.", form.fields)


def _scopes(form: Form) -> frozenset[str]:
    scopes = frozenset(scope.value for scope in Scope if form.fields.get(f"scope-{scope}"))
    if not scopes:
        raise InvalidRequest("choose what the key may do: claim, read or admin")
    return scopes


def _meetings(form: Form) -> frozenset[str] | None:
    text = form.text("meetings", label="Meetings", max_characters=_MEETINGS_MAX_CHARACTERS)
    sids = frozenset(filter(None, re.split(r"[\s,]+", text)))
    if wrong := sorted(sid for sid in sids if not is_sid(sid)):
        raise InvalidRequest(f"{wrong[0]} is not a SID (1 to 64 letters, digits, - and _)")
    return sids or None


def _networks(form: Form) -> tuple[str, ...] | None:
    text = form.text("networks", label="Networks", max_characters=_MEETINGS_MAX_CHARACTERS)
    try:
        return tuple(str(each) for each in networks_of(text)) or None
    except ValueError as error:
        raise InvalidRequest(f"Networks: {error}") from None


def _number(form: Form, name: str, label: str, most: int) -> int | None:
    """Return a whole number from 0 to `most`, or None if the field is empty."""
    text = form.text(name, label=label, max_characters=10)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise InvalidRequest(f"{label}: must be a whole number, at most {most}")
    return int(text)
