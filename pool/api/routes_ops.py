"""/ops: the operators' overview, behind a sign-in with an API key.

The cookie holds no key: it is the key's id and an expiry, signed with the secret key. It is
checked against the key ring on every request, so a revoked key signs out by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from pool.addresses import secret_key
from pool.api.access import TheService
from pool.api.pages import page
from pool.api.service import Service
from pool.errors import LedgerError, LinkpoolError, StoreError
from pool.keys import Caller, Scope
from pool.status import URGENCY, MeetingStatus, statuses

router = APIRouter(include_in_schema=False)

COOKIE = "linkpool_ops"
SESSION_SECONDS = 12 * 3600
REFRESH_SECONDS = 5
_SHOWN = 500


@router.get("/ops")
async def overview(request: Request, service: TheService) -> Response:
    """One row per meeting, the most urgent first."""
    caller = signed_in(request, service)
    if caller is None:
        return _sign_in_form("")
    meetings = [
        meeting
        for meeting in service.registry.all()
        if caller.meetings is None or meeting.sid in caller.meetings
    ]
    parts = service.parts
    problem = ""
    found: list[MeetingStatus] = []
    try:
        heartbeat = await parts.store.last_heartbeat_ms()
        try:
            found = await statuses(parts.store, parts.ledger, meetings) if meetings else []
        except LedgerError as error:
            problem = str(error)
            found = await statuses(parts.store, None, meetings)
    except StoreError as error:
        return page("Pools", store_away(str(error)), refresh_seconds=REFRESH_SECONDS)
    found.sort(key=lambda status: (URGENCY[status.state], status.meeting.sid))
    return page(
        "Pools",
        _notices(problem, heartbeat, service)
        + _table(found[:_SHOWN])
        + (f"<p>{len(found) - _SHOWN} more meetings</p>" if len(found) > _SHOWN else "")
        + f'<p class="quiet">As of {time.strftime("%H:%M:%S", time.gmtime())} UTC; '
        f"reads itself again every {REFRESH_SECONDS} s. Signed in with key "
        f"{escape(caller.key_id)}.</p>"
        '<form method="post" action="/ops/sign-out"><button>Sign out</button></form>',
        refresh_seconds=REFRESH_SECONDS,
    )


@router.post("/ops/sign-in")
async def sign_in(request: Request, service: TheService) -> Response:
    """Checks the key and sets the cookie."""
    keys = parse_qs((await request.body()).decode("utf-8", "replace")).get("key", [""])
    try:
        caller = service.keys.authenticate(keys[0].strip().encode())
        caller.check(Scope.READ)
    except LinkpoolError as error:
        return _sign_in_form(str(error), status=401)
    response = RedirectResponse("/ops", 303)
    response.set_cookie(
        COOKIE,
        _cookie(service, caller.key_id, int(time.time()) + SESSION_SECONDS),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/ops/sign-out")
async def sign_out() -> Response:
    """Drops the cookie."""
    response = RedirectResponse("/ops", 303)
    response.delete_cookie(COOKIE)
    return response


def signed_in(request: Request, service: Service) -> Caller | None:
    """Whose cookie the request carries; None if it is missing, forged, old, or its key revoked."""
    signed, _, signature = request.cookies.get(COOKIE, "").rpartition(".")
    # Before anything is read from it: what is not ours may be anything.
    if not hmac.compare_digest(signature.encode(), _sign(service, signed).encode()):
        return None
    key_id, expires = signed.split(".")
    if int(expires) < time.time():
        return None
    return service.keys.caller(key_id)


def _cookie(service: Service, key_id: str, expires: int) -> str:
    signed = f"{key_id}.{expires}"
    return f"{signed}.{_sign(service, signed)}"


def _sign(service: Service, signed: str) -> str:
    secret = hashlib.sha256(b"linkpool ops cookie\0" + secret_key(service.settings)).digest()
    return hmac.new(secret, signed.encode(), hashlib.sha256).hexdigest()


def _sign_in_form(problem: str, *, status: int = 200) -> HTMLResponse:
    notice = f'<p class="error" role="alert">{escape(problem)}</p>' if problem else ""
    return page(
        "Sign in",
        f'{notice}<form method="post" action="/ops/sign-in"><label>API key (read or admin) '
        '<input name="key" type="password" autocomplete="current-password" required autofocus>'
        "</label> <button>Sign in</button></form>",
        status=status,
    )


def store_away(reason: str) -> str:
    """What the page says while Redis does not answer: nothing about pools can be known then."""
    return (
        f'<p class="error" role="alert">Redis does not answer ({escape(reason)}).</p>'
        "<p>Claims are answered 503 <code>store-unavailable</code> meanwhile. Once Redis is back, "
        "pools recover by themselves. If it does not come back, <code>linkpool doctor</code> "
        f"says what is wrong. This page tries again every {REFRESH_SECONDS} s.</p>"
    )


def _notices(problem: str, heartbeat_ms: int | None, service: Service) -> str:
    notices = [problem] if problem else []
    quiet_seconds = time.time() - heartbeat_ms / 1000 if heartbeat_ms else None
    if quiet_seconds is None:
        notices.append("No worker has swept yet: is `linkpool worker` running, and beat?")
    elif quiet_seconds > 3 * service.settings.sweep_seconds + 5:
        notices.append(f"The last sweep of a worker was {quiet_seconds:.0f} s ago.")
    return "".join(f'<p class="error" role="alert">{escape(each)}</p>' for each in notices)


def _table(found: list[MeetingStatus]) -> str:
    if not found:
        return "<p>No meetings yet. Add one: <code>linkpool meetings add SID</code></p>"
    rows = "".join(
        f"<tr><td><code>{escape(each.meeting.sid)}</code></td>"
        f'<td class="{each.state}"><strong>{each.state}</strong> {escape(each.reason)}</td>'
        f'<td><meter min="0" max="{max(1, each.target)}" value="{min(each.fresh, each.target)}" '
        f'aria-label="level against target"></meter></td>'
        f'<td class="number">{each.fresh} / {each.target}</td>'
        f'<td class="number">{each.claims_per_second:.1f}</td>'
        f'<td class="number">{runway_words(each.runway_seconds)}</td>'
        f'<td class="number">{each.claimed}</td><td class="number">{each.consumed}</td></tr>'
        for each in found
    )
    return (
        '<div class="scroll"><table><tr><th>Meeting</th><th>State</th><th>Level</th>'
        '<th class="number">Fresh / target</th><th class="number">Claims/s</th>'
        '<th class="number">Runway</th><th class="number">Claimed</th>'
        f'<th class="number">Consumed</th></tr>{rows}</table></div>'
    )


def runway_words(seconds: float | None) -> str:
    """A runway as people say it."""
    if seconds is None:
        return "no claims"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
