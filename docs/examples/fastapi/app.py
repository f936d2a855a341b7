"""A booking page in FastAPI, with the asynchronous client.

pip install fastapi uvicorn ./clients/python
LINKPOOL_URL=… LINKPOOL_KEY=… uvicorn app:app
"""

import logging
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from typing import Annotated

from fastapi import Cookie, FastAPI
from fastapi.responses import HTMLResponse
from linkpool_client import AsyncClient, LinkpoolError, Unavailable

meeting = os.environ.get("LINKPOOL_MEETING", "demo")
linkpool = AsyncClient(os.environ["LINKPOOL_URL"], os.environ["LINKPOOL_KEY"])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the client's connections for as long as the application runs."""
    async with linkpool:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def booking(visitor: Annotated[str | None, Cookie()] = None) -> HTMLResponse:
    """Show the visitor's own link; the same one on each visit."""
    # Use your own id where you have one: the user's, the order's, the lead's.
    visitor = known_visitor(visitor)
    page = "<!doctype html><title>Book a call</title><h1>Book a call</h1>" + await embed(visitor)
    answer = HTMLResponse(page, headers={"Cache-Control": "no-store"})
    answer.set_cookie("visitor", visitor, max_age=30 * 86400, httponly=True, samesite="lax")
    return answer


def known_visitor(cookie: str | None) -> str:
    """Return the id of the cookie, or a new one: nobody can guess another visitor's."""
    try:
        return str(uuid.UUID(cookie))
    except (TypeError, ValueError, AttributeError):
        return str(uuid.uuid4())


async def embed(visitor: str) -> str:
    """Return what the page shows in the place of the booking."""
    try:
        claimed = await linkpool.claim(meeting, f"visitor-{visitor}", embed="inline")
        return claimed.embed_html or ""
    except LinkpoolError as error:
        logging.warning("no link for a visitor: %s", error)
        if isinstance(error, Unavailable) and error.fallback_url:
            return f'<a href="{escape(error.fallback_url)}">Book a time</a>'
    return "<p>Booking is not available right now. Please try again in a few minutes.</p>"
