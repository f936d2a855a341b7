"""Serve a page without a pool: the backend asks the provider for a link on every view."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

PROVIDER_URL = os.environ.get("BENCH_PROVIDER_URL", "http://127.0.0.1:8090")
PROVIDER_KEY = os.environ.get("BENCH_PROVIDER_KEY", "")


class ClaimRequest(BaseModel):
    """The body that a caller sends."""

    customer_id: str


provider: httpx.AsyncClient


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Open one client per process."""
    global provider
    provider = httpx.AsyncClient(
        base_url=PROVIDER_URL,
        headers={"X-API-KEY": PROVIDER_KEY},
        limits=httpx.Limits(max_connections=512, max_keepalive_connections=512),
    )
    yield
    await provider.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/meetings/{sid}/claims", status_code=201)
async def claim(sid: str, body: ClaimRequest) -> dict[str, object]:
    """Make a link for this view."""
    answer = await provider.post(f"/api/external/v2/meetings/{sid}/one-off-links")
    if answer.status_code >= 300:
        raise HTTPException(503, f"the provider answered {answer.status_code}")
    return {"customer_id": body.customer_id, "link": answer.json()}
