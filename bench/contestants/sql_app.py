"""Keep a pool as a queue table: SELECT … FOR UPDATE SKIP LOCKED, the usual way.

FastAPI and asyncpg, one statement per claim, prepared once per connection.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, Field

DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")
BASE_URL = "https://sandbox.neetocal.com"

TABLE = """
CREATE TABLE IF NOT EXISTS pool_links (
    slug text PRIMARY KEY,
    meeting_sid text NOT NULL,
    customer_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    claimed_at timestamptz
);
CREATE INDEX IF NOT EXISTS pool_links_fresh ON pool_links (meeting_sid, created_at, slug)
    WHERE customer_id IS NULL;
CREATE UNIQUE INDEX IF NOT EXISTS pool_links_customer ON pool_links (meeting_sid, customer_id)
    WHERE customer_id IS NOT NULL;
"""

# The customer's own link, else the oldest that is free and that nobody else is taking.
CLAIM = """
WITH mine AS (
    SELECT slug FROM pool_links WHERE meeting_sid = $1 AND customer_id = $2
), next AS (
    SELECT slug FROM pool_links
    WHERE meeting_sid = $1 AND customer_id IS NULL AND NOT EXISTS (SELECT FROM mine)
    ORDER BY created_at, slug LIMIT 1 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE pool_links SET customer_id = $2, claimed_at = now()
    WHERE slug = (SELECT slug FROM next) RETURNING slug
)
SELECT slug, true AS reused FROM mine UNION ALL SELECT slug, false FROM taken
"""


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
    reused: bool


pool: Any


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Open one pool of connections per process."""
    global pool
    pool = await asyncpg.create_pool(
        DATABASE_URL,
        min_size=8,
        max_size=8,
        # As Redis with appendfsync everysec: a crash may cost the last moments.
        server_settings={"synchronous_commit": "off"},
    )
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/meetings/{sid}/claims", status_code=201)
async def claim(sid: str, body: ClaimRequest, response: Response) -> Claim:
    """Give the customer their link."""
    try:
        row = await pool.fetchrow(CLAIM, sid, body.customer_id)
    except asyncpg.UniqueViolationError:  # the same customer at the same time
        row = await pool.fetchrow(CLAIM, sid, body.customer_id)
    if row is None:
        raise HTTPException(503, "no link")
    slug, reused = row
    if reused:
        response.status_code = 200
    return Claim(
        meeting_sid=sid,
        customer_id=body.customer_id,
        slug=slug,
        url=f"{BASE_URL}/{slug}",
        reused=reused,
    )
