"""Redirect from every action to a page that shows its outcome."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import Request, Response

from pool.api.ops.session.flash import done, failed
from pool.api.ops.session.forms import Form
from pool.errors import (
    Forbidden,
    InvalidRequest,
    LinkpoolError,
    NotInForceYet,
    StoreUnavailable,
    UnknownMeeting,
)


async def outcome(
    request: Request,
    place: str,
    work: Awaitable[str],
    form: Form | None = None,
    *,
    section: str = "",
) -> Response:
    """Return a redirect to `place`, which shows the text `work` returns, or why it failed.

    What was typed into `form` is filled in again if the action failed; `section` is the part of
    `place` that holds the form, and then shows why.

    Raise Forbidden and UnknownMeeting on: this key may not be able to see `place`.
    """
    typed = form.fields if form else None
    again = f"{place.partition('#')[0]}#{section}" if section else place
    try:
        text = await work
    except (Forbidden, UnknownMeeting):
        raise
    except InvalidRequest as error:
        return failed(request, again, f"Nothing was done: {'; '.join(error.errors)}.", typed)
    except NotInForceYet as error:
        return failed(request, again, f"Kept, but not in effect yet: {error}.")
    except StoreUnavailable as error:
        return failed(request, again, f"Redis does not answer, so this failed ({error}).", typed)
    except LinkpoolError as error:
        return failed(request, again, f"The action failed: {error}.", typed)
    request.app.state.ops.live.forget()  # the page that follows shows what was done
    return done(request, place, text)
