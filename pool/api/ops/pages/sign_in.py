"""Sign in with an API key, and sign out."""

from __future__ import annotations

from fastapi import Request, Response

from pool.api.http import problems
from pool.api.http.messages import address_of
from pool.api.http.mount import redirect_to
from pool.api.http.people import person_of
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.frame.sending_again import SIGN_IN, place_or_overview
from pool.api.ops.session.cookies import drop_cookie, keep_cookie
from pool.api.ops.session.forms import check_csrf, check_same_site, form_of
from pool.api.ops.session.sessions import COOKIE, SESSION_SECONDS, Session, SignedIn, sessions_of
from pool.api.routes.access import TheService
from pool.errors import Forbidden, LinkpoolError, Unauthorized

router = views()


@router.get(SIGN_IN)
async def sign_in_form(request: Request, _service: TheService) -> Response:
    """Show the form that asks for a key; a person whom a proxy signed in needs none."""
    place = place_or_overview(request.query_params.get("next", ""))
    person = person_of(request.scope)
    if person is None:
        return _form(request, place)
    try:
        sessions_of(request).of_person(person)
    except Unauthorized as error:
        return _form(request, place, problem=str(error))
    return redirect_to(place)


@router.post(SIGN_IN)
async def sign_in(request: Request, service: TheService) -> Response:
    """Check the key and set the cookie."""
    form = await form_of(request)
    place = place_or_overview(form.fields.get("next", ""))
    address = address_of(request)
    try:
        check_same_site(request)
        service.doors.check_sign_in(address)
        _, cookie = sessions_of(request).open(form.fields.get("key", ""), address)
    except LinkpoolError as error:
        if isinstance(error, Unauthorized | Forbidden):
            service.doors.failed("sign-in", address)
        status = problems.problem_of(error).status
        return _form(request, place, problem=str(error), status=status)
    response = redirect_to(place)
    keep_cookie(request, response, COOKIE, cookie, SESSION_SECONDS)
    return response


@router.post("/ops/sign-out")
async def sign_out(request: Request, session: SignedIn) -> Response:
    """End the session, so that its cookie is no longer accepted, and delete the cookie."""
    check_csrf(request, session, await form_of(request))
    _check_ends_here(session)
    await sessions_of(request).end(session)
    return _signed_out(request)


@router.post("/ops/sign-out-everywhere")
async def sign_out_everywhere(request: Request, session: SignedIn) -> Response:
    """End every session that was opened with this key, on any machine."""
    check_csrf(request, session, await form_of(request))
    _check_ends_here(session)
    await sessions_of(request).end_all(session)
    return _signed_out(request)


def _check_ends_here(session: Session) -> None:
    """Raise Forbidden if a proxy signs this person in, which linkpool cannot end."""
    if not session.name:
        raise Forbidden("a proxy signs you in; sign out there")


def _signed_out(request: Request) -> Response:
    response = redirect_to(SIGN_IN)
    drop_cookie(request, response, COOKIE)
    return response


def _form(request: Request, place: str, *, problem: str = "", status: int = 200) -> Response:
    return render(
        request, "sign_in.html", None, title="Sign in", status=status, place=place, problem=problem
    )
