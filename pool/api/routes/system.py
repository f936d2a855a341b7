"""Serve health checks, metrics, and a page for every problem type."""

from __future__ import annotations

import hmac
from html import escape

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from pool.access.api_keys import Scope
from pool.api.http import problems
from pool.api.http.messages import address_of, api_key
from pool.api.http.mount import url
from pool.api.http.pages import page, prose
from pool.api.routes.access import TheCaller, TheService
from pool.api.routes.bodies import problem_answers
from pool.api.routes.exposition import Exposition
from pool.api.service import Service
from pool.errors import LedgerUnavailable, StoreUnavailable, Unauthorized, Unknown
from pool.store.capabilities import evicts

router = APIRouter()


@router.get("/livez", tags=["system"])
async def livez() -> dict[str, str]:
    """Answer 200 if this process runs."""
    return {"status": "alive"}


@router.get("/readyz", tags=["system"])
async def readyz(service: TheService) -> JSONResponse:
    """Answer 200 if claims can be served. This asks Redis, never the provider.

    A process that started before the ledger was available, and has not read the API keys yet,
    is not ready either. Once read, the keys stay in memory.
    """
    lacking = [] if service.keys.loaded else ["the API keys have not been read from the ledger yet"]
    try:
        reasons = [evicts(info) for info in await service.parts.store.infos()]
    except StoreUnavailable as error:
        lacking.insert(0, str(error))
        raise StoreUnavailable("; ".join(lacking)) from error
    if any(reasons):
        raise StoreUnavailable(max(reasons))
    if await _all_foreign(service):
        raise LedgerUnavailable("the pools in Redis are another database's")
    if lacking:
        raise LedgerUnavailable(lacking[0])
    return JSONResponse({"status": "ready"})


async def _all_foreign(service: Service) -> bool:
    """Return True if no pool may hand out links, since another database made them."""
    pools = [pool for meeting in service.known_meetings.all() for pool in meeting.pools]
    if not pools:
        return False
    # Usually the first is well, and one question is enough.
    fences = await service.parts.store.recovery.fences(pools[:1])
    if fences[0].fence != "foreign":
        return False
    fences = await service.parts.store.recovery.fences(pools)
    return all(each.fence == "foreign" for each in fences)


@router.get("/healthz", tags=["system"], responses=problem_answers(401, 403))
async def healthz(caller: TheCaller, service: TheService) -> JSONResponse:
    """Return how every part is, and since when, for a key with the scope read.

    Redis, ledger, broker, worker, beat, each workspace's provider, and webhooks. The answer is
    always 200: /livez and /readyz decide whether a process is taken out of service.
    """
    caller.check_everywhere(Scope.READ)
    return JSONResponse((await service.health.look()).as_json())


@router.get("/metrics", tags=["system"], response_class=Response)
async def metrics(request: Request, service: TheService) -> Response:
    """Return Prometheus metrics; open unless LINKPOOL_METRICS_KEY is set."""
    wanted = service.settings.metrics_key
    if wanted is not None:
        given = api_key(request.scope["headers"]) or b""
        if not hmac.compare_digest(given, wanted.get_secret_value().encode()):
            service.doors.failed("metrics", address_of(request))
            raise Unauthorized("send the metrics key as X-API-Key or Authorization: Bearer")
    exposition: Exposition = request.app.state.exposition
    return Response(
        await exposition.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


@router.get("/problems/{name}", include_in_schema=False)
async def problem_page(name: str) -> HTMLResponse:
    """Return a page that says what a problem type means and what to do about it."""
    problem = problems.BY_NAME.get(name)
    if problem is None:
        raise Unknown("there is no problem type with this name; /problems lists all of them")
    return page(
        problem.title,
        f"<p><code>{escape(problem.name)}</code>, HTTP status {problem.status}</p>"
        f"<p>{prose(problem.what_to_do)}</p>"
        f'<p><a href="{url("/problems")}">All problem types</a></p>',
    )


@router.get("/problems/", include_in_schema=False)
@router.get("/problems", include_in_schema=False)
async def problem_list() -> HTMLResponse:
    """Return a page that lists every problem type."""
    rows = "".join(
        f'<tr><td>{each.status}</td><td><a href="{url(f"/problems/{each.name}")}">'
        f"{each.name}</a></td>"
        f"<td>{prose(each.title)}</td></tr>"
        for each in sorted(problems.BY_NAME.values(), key=lambda each: each.status)
    )
    return page(
        "Problem types",
        f"<table><tr><th>Status</th><th>Name</th><th>Meaning</th></tr>{rows}</table>",
    )
