"""Read the forms of the page, and check that the page itself sent them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request

from pool.access.api_keys import Caller, Scope
from pool.api.ops.session.flash import CSRF_FIELD
from pool.api.ops.session.sessions import Session, SignedIn
from pool.errors import Forbidden, InvalidRequest

TEXT_MAX_CHARACTERS = 500
_FIELDS = 100  # enough for a page of rows to choose from, and its other fields


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. One that was not sent is empty; of one sent twice the last counts."""

    fields: dict[str, str]
    pairs: tuple[tuple[str, str], ...] = ()

    def every(self, name: str) -> list[str]:
        """Return all values of a field that may be sent several times, such as chosen rows."""
        return [value for each, value in self.pairs if each == name]

    def text(
        self, name: str, *, label: str = "", required: bool = False,
        max_characters: int = TEXT_MAX_CHARACTERS,
    ) -> str:  # fmt: skip
        """Return a line of text without surrounding blanks.

        Raise InvalidRequest if it is too long, has control characters, or is missing although
        `required`.
        """
        value = self.fields.get(name, "").strip()
        label = label or name
        if required and not value:
            raise InvalidRequest(f"{label}: fill this in")
        if len(value) > max_characters:
            raise InvalidRequest(f"{label}: at most {max_characters} characters are allowed")
        if not value.isprintable():
            raise InvalidRequest(f"{label}: contains characters that cannot be printed")
        return value


@dataclass(frozen=True, slots=True)
class Action:
    """A form that a signed-in admin posted from the page. The view checks the meeting."""

    session: Session
    form: Form

    @property
    def caller(self) -> Caller:
        """Return who acts. The audit log records the `key_id`."""
        return self.session.caller

    @property
    def reason(self) -> str:
        """Return the reason for the audit log. Raise InvalidRequest if the field is empty."""
        return self.form.text("reason", label="Reason", required=True)


async def form_of(request: Request) -> Form:
    """Return the posted form. Raise InvalidRequest if it cannot be read."""
    try:
        pairs = parse_qsl(
            (await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS
        )
    except ValueError:
        raise InvalidRequest("the form could not be read; reload the page and try again") from None
    return Form(dict(pairs), tuple(pairs))


def check_csrf(request: Request, session: Session, form: Form) -> None:
    """Raise Forbidden unless the form came from a page of this session."""
    check_same_site(request)
    given = form.fields.get(CSRF_FIELD, "")
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise Forbidden("this form belongs to another session; go back, reload and try again")


def check_same_site(request: Request) -> None:
    """Raise Forbidden if the browser reports that another site sent this form.

    Old browsers report this only in Origin.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if not ours:
        raise Forbidden("this form was sent by another site")


async def action_of(request: Request, session: SignedIn) -> Action:
    """Return the requested action. Raise Unauthorized, Forbidden or InvalidRequest."""
    form = await form_of(request)
    check_csrf(request, session, form)
    session.caller.check(Scope.ADMIN)
    return Action(session, form)


Posted = Annotated[Action, Depends(action_of)]
