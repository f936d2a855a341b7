"""Change the settings of a meeting, undo a change, and preview the meaning of settings."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from pool.access.api_keys import Scope
from pool.api.ops.actions.settings_form import SETTINGS, changes_of, preview, problems_of, touched
from pool.api.ops.actions.settings_words import check_nobody_else_changed, labels_of
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import HEADERS, fragment
from pool.api.ops.frame.routing import views
from pool.api.ops.session.forms import Form, Posted
from pool.api.ops.session.sessions import SignedIn
from pool.api.routes.access import Sid, TheService
from pool.errors import InvalidRequest
from pool.operations.advice import Meaning, meanings
from pool.operations.status import statuses
from pool.operations.undo import undo

router = views()


@router.post("/ops/meetings/{sid}/settings")
async def change(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Change settings."""
    action.caller.check(Scope.ADMIN, sid)

    async def work() -> str:
        reason = action.reason
        present = await service.known_meetings.latest(sid)
        check_nobody_else_changed(action.form, present)
        changes = changes_of(action.form, present)
        if not changes:
            return "Nothing was changed: these are the present settings."
        found, _ = await service.administration.put(
            sid, changes, action.caller.key_id, reason=reason, limited=action.caller.limited
        )
        service.changed(found)
        return f"Saved: {labels_of(changes)}. Changes apply within seconds."

    return await outcome(request, _place(sid), work(), touched(action.form))


@router.post("/ops/meetings/{sid}/settings/undo")
async def take_back(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Restore the settings from before the last change."""
    action.caller.check(Scope.ADMIN, sid)
    entry = action.form.fields.get("entry", "")

    async def work() -> str:
        if not entry.isascii() or not entry.isdigit() or len(entry) > 18:
            raise InvalidRequest("this form names no change; reload the page and try again")
        found, undone = await undo(
            service.parts.ledger,
            service.administration,
            sid,
            int(entry),
            action.caller.key_id,
            limited=action.caller.limited,
        )
        service.changed(found)
        return f"Undone: {labels_of(undone.detail)}. Changes apply within seconds."

    return await outcome(request, _place(sid), work())


@router.get("/ops/meetings/{sid}/settings/meaning")
async def meaning(sid: Sid, request: Request, session: SignedIn, service: TheService) -> Response:
    """Return in words what settings mean that are not saved yet, as a part of the page."""
    session.caller.check(Scope.READ, sid)
    names = {setting.name for setting in SETTINGS}
    asked = {name: value for name, value in request.query_params.items() if name in names}
    present = await service.known_meetings.latest(sid)
    found, wrong = preview(Form(asked), present), problems_of(Form(asked), present)
    [status] = await statuses(service.parts.store, None, [found])
    labels = {setting.name: setting.label for setting in SETTINGS}
    said = [
        Meaning(f"{labels[name]}: {problem[:1].lower()}{problem[1:]}", bad=True)
        for name, problem in wrong.items()
        if name in labels
    ]
    said += meanings(found, status.claims_per_second, status.fresh)
    return HTMLResponse(fragment("meeting/meanings.html", meanings=said), headers=HEADERS)


def _place(sid: str) -> str:
    return f"/ops/meetings/{sid}#settings"
