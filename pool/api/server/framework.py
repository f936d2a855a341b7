"""Set up the framework: its routes, its OpenAPI document, and its errors as problems."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pool.api.demo.routes import router as demo_router
from pool.api.http import problems
from pool.api.http.messages import response_of
from pool.api.http.mount import url
from pool.api.ops.routes import router as ops_router
from pool.api.routes import (
    claims,
    docs,
    embed_claims,
    embeds,
    events,
    meetings,
    public_keys,
    system,
    tag,
    tokens,
)
from pool.api.routes.examples import give_examples
from pool.api.server.front_page import router as front_router
from pool.api.server.gate import KEYLESS
from pool.errors import InvalidRequest, LinkpoolError

# The validation library's error types for a body that is not an object.
_NO_OBJECT = ("model_type", "model_attributes_type")
_STATUS_PROBLEMS = {404: "not-found", 405: "method-not-allowed"}


def make_framework(lifespan: Any) -> FastAPI:
    """Return the framework with every route, and errors answered as problems."""
    app = FastAPI(
        title="linkpool",
        version=version("linkpool"),
        summary="One-off scheduling links, made ahead of time",
        lifespan=lifespan,
        redirect_slashes=False,
        # The framework's pages load scripts from other hosts; routes/docs.py has one without.
        docs_url=None,
        # The framework's route would write the document anew for each request.
        openapi_url=None,
        redoc_url=None,
    )
    for module in (
        claims,
        tokens,
        embed_claims,
        embeds,
        public_keys,
        meetings,
        events,
        system,
        docs,
        tag,
    ):
        app.include_router(module.router)
    app.include_router(ops_router)
    app.include_router(demo_router)
    app.include_router(front_router)
    # The library's types do not know that a handler gets errors of its own kind only.
    handle: Any = app.add_exception_handler
    handle(LinkpoolError, _linkpool_error)
    handle(RequestValidationError, _invalid)
    handle(HTTPException, _http_error)
    # Otherwise the framework answers in plain text. Either way the edge sees the error and logs it.
    handle(Exception, _defect)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: how keys are sent, the claim's schemas, the problems."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            document["servers"] = [{"url": url("") or "/"}]
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(
                claims.OPENAPI_COMPONENTS | embed_claims.OPENAPI_COMPONENTS
            )
            components["securitySchemes"] = {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            }
            for unused in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(unused, None)
            for path, operations in document["paths"].items():
                _describe_problems(operations)
                keyed = path.startswith("/v1/") or path == "/healthz"
                if keyed and not path.startswith(KEYLESS):
                    for operation in operations.values():
                        operation["security"] = [{"key": []}, {"bearer": []}]
            give_examples(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe_problems(operations: dict[str, Any]) -> None:
    """Declare every error a problem document; the framework declares them plain JSON."""
    for operation in operations.values():
        for status, answer in operation["responses"].items():
            if status >= "400":
                schema = {"$ref": "#/components/schemas/ProblemBody"}
                answer["content"] = {problems.CONTENT_TYPE.decode(): {"schema": schema}}


async def _linkpool_error(request: Request, error: LinkpoolError) -> Response:
    return response_of(problems.render_error(error, request.url.path))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    details = error.errors()
    if any(detail["type"] == "json_invalid" for detail in details):
        problem = problems.BY_NAME["malformed-json"]
        return response_of(problems.render(problem, "the body is not JSON", request.url.path))
    if any(detail["loc"] == ("body",) and detail["type"] in _NO_OBJECT for detail in details):
        problem = problems.BY_NAME["malformed-json"]
        detail = "the body must be a JSON object, sent with Content-Type: application/json"
        return response_of(problems.render(problem, detail, request.url.path))
    reasons = [
        f"{'.'.join(str(part) for part in detail['loc'][1:]) or 'body'}: {detail['msg']}"
        for detail in details
    ]
    invalid = InvalidRequest("invalid request", reasons)
    return response_of(problems.render_error(invalid, request.url.path))


async def _http_error(request: Request, error: HTTPException) -> Response:
    name = _STATUS_PROBLEMS.get(error.status_code, "invalid-request")
    status, headers, body = problems.render(
        problems.BY_NAME[name], str(error.detail), request.url.path
    )
    theirs = [
        (key.lower().encode(), value.encode()) for key, value in (error.headers or {}).items()
    ]
    # HEAD is served wherever GET is: see Edge.
    theirs = [(key, _with_head(value) if key == b"allow" else value) for key, value in theirs]
    return response_of((status, [*headers, *theirs], body))


def _with_head(allowed: bytes) -> bytes:
    methods = allowed.split(b", ")
    return allowed + b", HEAD" if b"GET" in methods and b"HEAD" not in methods else allowed


async def _defect(request: Request, _error: Exception) -> Response:
    problem = problems.BY_NAME["internal-error"]
    return response_of(problems.render(problem, "the request failed", request.url.path))
