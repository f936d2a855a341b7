"""Serve links the obvious way: what a good engineer would write in an afternoon.

FastAPI, pydantic, redis-py; one awaited EVALSHA per request, of linkpool's own script. It
checks no key and counts nothing, which flatters it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Response
from msgspec import msgpack
from pydantic import BaseModel, Field
from redis.asyncio import Redis

# Nothing of linkpool is imported here: its own tuning of the interpreter would come along.
CLAIM_SCRIPT = os.environ.get("BENCH_CLAIM_SCRIPT", "")
REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
BASE_URL = "https://sandbox.neetocal.com"


class ClaimRequest(BaseModel):
    """The body that a caller sends."""

    customer_id: Annotated[str, Field(min_length=1, max_length=256)]
    email: str | None = None


class Claim(BaseModel):
    """The body that a caller gets."""

    meeting_sid: str
    customer_id: str
    slug: str
    url: str
    state: str
    claimed_at: datetime
    reused: bool


redis: Redis
sha: str


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Open one client per process."""
    global redis, sha
    redis = Redis.from_url(REDIS_URL, max_connections=512)
    sha = await redis.script_load(CLAIM_SCRIPT)
    yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/meetings/{sid}/claims", status_code=201)
async def claim(sid: str, body: ClaimRequest, response: Response) -> Claim:
    """Give the customer their link."""
    base = f"lp:{{{sid}}}"
    names = [f"{base}:{name}" for name in ("epoch", "fresh", "claims", "meeting", "demand")]
    names += [f"{base}:nudged", f"{base}:b:{body.customer_id}"]
    payload = msgpack.encode((body.customer_id,))
    reply: list[Any] = await redis.evalsha(sha, len(names), *names, "echo", payload)
    if reply[1] != b"ok":
        raise HTTPException(503, reply[1].decode())
    answer = reply[4].decode()
    if answer[0] not in "no":
        raise HTTPException(503, "no link")
    claimed_at, slug = answer[3:].split(":")[:2]
    if answer[0] == "o":
        response.status_code = 200
    return Claim(
        meeting_sid=sid,
        customer_id=body.customer_id,
        slug=slug,
        url=f"{BASE_URL}/{slug}",
        state="claimed",
        claimed_at=datetime.fromtimestamp(int(claimed_at) / 1000, UTC),
        reused=answer[0] == "o",
    )
