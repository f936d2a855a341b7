"""Redirect from every action to a page that shows its outcome."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from fastapi import Request, Response

from pool.api.ops.session.flash import done, failed
from pool.api.ops.session.forms import Form
from pool.api.routes.access import service_of
from pool.errors import (
    Forbidden,
    InvalidRequest,
    LedgerUnavailable,
    LinkpoolError,
    NotInForceYet,
    StoreUnavailable,
    UnknownMeeting,
)


async def outcome(
    request: Request,
    place: str,
    work: Coroutine[Any, Any, str],
    form: Form | None = None,
    *,
    section: str = "",
) -> Response:
    """Return a redirect to `place`, which shows the text `work` returns, or why it failed.

    What was typed into `form` is filled in again if the action failed; `section` is the part of
    `place` that holds the form, and then shows why. While the ledger takes nothing, `work` is not
    begun.

    Raise Forbidden and UnknownMeeting on: this key may not be able to see `place`.
    """
    typed = form.fields if form else None
    again = f"{place.partition('#')[0]}#{section}" if section else place
    try:
        await service_of(request).ledger_ready.check()
    except LedgerUnavailable as error:
        work.close()
        return failed(request, again, f"The action failed: {error}.", typed)
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
