"""Redirect from every action to a page that shows its outcome."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import Request, Response

from pool.api.ops.session.flash import done, failed
from pool.api.ops.session.forms import Form
from pool.errors import Forbidden, InvalidRequest, LinkpoolError, UnknownMeeting


async def outcome(
    request: Request, place: str, work: Awaitable[str], form: Form | None = None
) -> Response:
    """Return a redirect to `place`, which shows the text `work` returns, or why it failed.

    What was typed into `form` is filled in again if the action failed.

    Raise Forbidden and UnknownMeeting on: this key may not be able to see `place`.
    """
    typed = form.fields if form else None
    try:
        text = await work
    except (Forbidden, UnknownMeeting):
        raise
    except InvalidRequest as error:
        return failed(request, place, f"Nothing was done: {'; '.join(error.errors)}.", typed)
    except LinkpoolError as error:
        return failed(request, place, f"The action failed: {error}.", typed)
    return done(request, place, text)
