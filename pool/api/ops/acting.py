"""Redirect from every action to a page that shows its outcome."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import Request, Response

from pool.api.ops.flash import done, failed
from pool.errors import Forbidden, InvalidRequest, LinkpoolError, UnknownMeeting


async def outcome(request: Request, place: str, work: Awaitable[str]) -> Response:
    """Return a redirect to `place`, which shows the text `work` returns, or why it failed.

    Raise Forbidden and UnknownMeeting on: this key may not be able to see `place`.
    """
    try:
        text = await work
    except (Forbidden, UnknownMeeting):
        raise
    except InvalidRequest as error:
        return failed(request, place, f"Nothing was done: {'; '.join(error.errors)}.")
    except LinkpoolError as error:
        return failed(request, place, f"The action failed: {error}.")
    return done(request, place, text)
