"""How every action of the page ends: on a page that says what came of it."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import Request, Response

from pool.api.ops.flash import done, failed
from pool.errors import Forbidden, InvalidRequest, LinkpoolError, UnknownMeeting


async def outcome(request: Request, url: str, work: Awaitable[str]) -> Response:
    """Leads to `url`, which says what `work` returns, or why it failed.

    Forbidden and UnknownMeeting go on: there may be no such page for this key.
    """
    try:
        said = await work
    except (Forbidden, UnknownMeeting):
        raise
    except InvalidRequest as error:
        return failed(request, url, f"Nothing was done: {'; '.join(error.errors)}.")
    except LinkpoolError as error:
        return failed(request, url, f"That did not work: {error}.")
    return done(request, url, said)
