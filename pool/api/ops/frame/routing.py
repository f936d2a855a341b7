"""Route views, and show their errors as pages in the frame, not as problem documents."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from pool.api.http import problems
from pool.api.http.access_log import route_of
from pool.api.http.mount import redirect_to
from pool.api.ops.frame.navigation import places_for
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.sending_again import SIGN_IN, ask_to_sign_in, is_from_our_page, page_of_form
from pool.api.ops.session.sessions import Session, find_session
from pool.errors import InvalidRequest, LedgerError, LinkpoolError, StoreError, Unauthorized
from pool.model.incidents import What

log = structlog.get_logger()


class PageRoute(APIRoute):
    """Turns a view's errors into pages. Visitors who are not signed in go to the sign-in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the framework's handler, wrapped."""
        view = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await view(request)
            except Unauthorized:
                if request.method == "POST" and is_from_our_page(request):
                    return await ask_to_sign_in(request, page_of_form(request))
                return to_sign_in(request)
            except LinkpoolError as error:
                return error_page(request, error)
            except RequestValidationError:
                return error_page(
                    request, InvalidRequest("this address has a parameter that is not valid")
                )
            except Exception:
                log.exception("page failed", route=route_of(request.scope))
                return render(
                    request,
                    "error.html",
                    _session_if_any(request),
                    title="Something went wrong inside linkpool",
                    status=500,
                    status_code=500,
                    detail="This is a bug in linkpool. The server's log has the details",
                    what_to_do="",
                )

        return handle


def views() -> APIRouter:
    """Return a router for views."""
    return APIRouter(include_in_schema=False, route_class=PageRoute)


def to_sign_in(request: Request) -> Response:
    """Return a redirect to the sign-in, which leads back to the requested page."""
    if request.method != "GET":
        return redirect_to(SIGN_IN)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return redirect_to(SIGN_IN if here == "/ops" else f"{SIGN_IN}?next={quote(here)}")


def error_page(request: Request, error: LinkpoolError) -> Response:
    """Return a page that says what went wrong and what to do."""
    session = _session_if_any(request)
    if session and request.method == "GET" and isinstance(error, StoreError | LedgerError):
        return _without_part(request, session, error)
    problem = problems.problem_of(error)
    detail = "; ".join(error.errors) if isinstance(error, InvalidRequest) else str(error)
    return render(
        request,
        "error.html",
        session,
        title=problem.title,
        status=problem.status,
        status_code=problem.status,
        detail=detail,
        what_to_do=_advice(problem),
    )


def _without_part(request: Request, session: Session, error: LinkpoolError) -> Response:
    """Return the view without its content, which it shows as soon as the silent part answers."""
    given = request.path_params
    name = given.get("sid") or given.get("slug") or given.get("workspace")
    places = places_for(session, request.url.path)
    label = next((place.label for place in places if place.path == request.url.path), "")
    return render(
        request,
        "without_part.html",
        session,
        title=name or label or problems.problem_of(error).title,
        status=503,
        silent_part=What.REDIS if isinstance(error, StoreError) else What.LEDGER,
        lacking="What this page shows is kept there.",
    )


def _advice(problem: problems.Problem) -> str:
    """Return what people can do about a problem. They see no headers and send no bodies."""
    if problem.status in (404, 422):
        return ""
    return problem.what_to_do.replace("after Retry-After seconds", "in a few seconds")


def _session_if_any(request: Request) -> Session | None:
    try:
        return find_session(request)
    except Unauthorized:
        return None
