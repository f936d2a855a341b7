"""Every error linkpool raises on purpose.

LinkpoolError
├── SettingsError              a setting is missing or wrong; names it
├── StoreError                 the pool in Redis
│   ├── StoreUnavailable       cannot be reached, or refuses writes
│   └── Fenced                 it may have forgotten a claim: recovery is due or under way
├── LedgerError                the SQL database
│   └── LedgerUnavailable      cannot be reached, or locked for too long
├── ProviderError              the scheduling provider; says whether a link may have been made
│   ├── WorkspaceRefused       401: the API key is not accepted
│   ├── MeetingRefused         400, 403, 404, 422: this meeting makes no links
│   ├── Throttled              429
│   ├── ProviderFailed         5xx, time-out, broken connection
│   └── BadAnswer              an answer that is not what the provider documents
├── NotifyFailed               the operators' webhook took no notice
├── ClaimRefused               a claim that gets no link
│   ├── PoolEmpty
│   ├── PoolPaused
│   └── RateLimited
├── RequestRefused             what the caller sent cannot be served
│   ├── MalformedJson
│   ├── InvalidRequest
│   ├── InvalidCustomerId
│   ├── TooLarge
│   ├── Unauthorized
│   ├── Forbidden
│   ├── NotAssignable
│   ├── NotReplaceable
│   └── BadSignature
└── Unknown                    names something that is not here
    ├── UnknownMeeting
    ├── UnknownClaim
    ├── UnknownLink
    ├── UnknownEvent
    ├── UnknownKey
    └── UnknownWorkspace

The message of an error is one sentence for the person who must act on it, and
never holds a secret, a customer id or a slug.
"""

from __future__ import annotations

from collections.abc import Sequence


class LinkpoolError(Exception):
    """Base of all errors that linkpool raises on purpose."""


class SettingsError(LinkpoolError):
    """A setting is missing or wrong."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name


# -- the pool in Redis ---------------------------------------------------------


class StoreError(LinkpoolError):
    """Redis did not do what was asked."""


class StoreUnavailable(StoreError):
    """Redis cannot be reached in time, or refuses to write.

    `connection_lost` tells a broken connection (another may do) from a refusal; `is_outage`
    tells what no command is to blame for from the refusal of this very one.
    """

    def __init__(
        self, message: str, *, connection_lost: bool = False, is_outage: bool = False
    ) -> None:
        super().__init__(message)
        self.connection_lost = connection_lost
        self.is_outage = connection_lost or is_outage


class StillErasing(StoreError):
    """Something of a customer could not be erased just now; the workers go on with it."""


class Fenced(StoreError):
    """This Redis may have forgotten a claim, so it hands out nothing until recovered."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"the pool of meeting {sid} is being recovered")
        self.sid = sid


# -- the ledger ----------------------------------------------------------------


class LedgerError(LinkpoolError):
    """The SQL database did not do what was asked."""


class LedgerUnavailable(LedgerError):
    """The database cannot be reached in time, or is locked by another writer."""


# -- the provider --------------------------------------------------------------


class ProviderError(LinkpoolError):
    """The provider gave no usable link.

    `maybe_made` is true when the provider may have made a link that nobody
    knows of (a reply was lost or unreadable): such links are counted.
    """

    outcome = "failed"

    def __init__(self, message: str, *, status: int | None = None, maybe_made: bool = False):
        super().__init__(message)
        self.status = status
        self.maybe_made = maybe_made


class WorkspaceRefused(ProviderError):
    """401, or 403 to a list: the workspace's API key is not accepted."""

    outcome = "refused"


class MeetingRefused(ProviderError):
    """400, 403, 404 or 422: this meeting does not exist there or makes no links."""

    outcome = "refused"


class Throttled(ProviderError):
    """429. `retry_after_seconds` is what the provider asked for, if it did, unbounded."""

    outcome = "throttled"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None):
        super().__init__(message, status=429)
        self.retry_after_seconds = retry_after_seconds


class ProviderFailed(ProviderError):
    """5xx, a time-out or a broken connection."""


class BadAnswer(ProviderError):
    """The provider answered something it does not document."""

    outcome = "bad-answer"


# -- notices -------------------------------------------------------------------


class NotifyFailed(LinkpoolError):
    """The operators' webhook took no notice. `final`: nor will it later."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


# -- claims --------------------------------------------------------------------


class ClaimRefused(LinkpoolError):
    """No link for this claim now; `retry_after_seconds` says when to come back."""

    def __init__(self, message: str, *, retry_after_seconds: int = 1):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PoolEmpty(ClaimRefused):
    """No fresh link, and none could be made on the spot."""

    def __init__(
        self, message: str, *, retry_after_seconds: int = 2, fallback_url: str | None = None
    ):
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.fallback_url = fallback_url


class PoolPaused(ClaimRefused):
    """An operator paused the meeting, or it is closed at the provider; customers who hold a link
    still get it."""


class RateLimited(ClaimRefused):
    """Too many new bindings by this key or address."""


# -- requests ------------------------------------------------------------------


class RequestRefused(LinkpoolError):
    """What the caller sent cannot be served as it is."""


class MalformedJson(RequestRefused):
    """The body is not a JSON object in UTF-8."""


class InvalidRequest(RequestRefused):
    """Wrong types, unknown fields, values out of range; `errors` says where."""

    def __init__(self, message: str, errors: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors) or (message,)


class InvalidCustomerId(RequestRefused):
    """Empty, over 256 characters, or with control characters."""


class TooLarge(RequestRefused):
    """The body is larger than this call accepts."""


class Unauthorized(RequestRefused):
    """No API key, or one that is wrong or revoked."""

    wait_seconds = 0.0  # before it is said, to one who tries often


class Forbidden(RequestRefused):
    """The API key lacks the scope or the meeting."""


class NotAssignable(RequestRefused):
    """This event cannot be given to this link: one is taken already, or it is no booking."""


class BodyErased(RequestRefused):
    """The event's body is not kept any more, so it cannot be looked at again."""


class NotReplaceable(RequestRefused):
    """This customer's link is booked, so that another one would be a second booking."""


class BadSignature(RequestRefused):
    """The webhook's signature is missing or wrong."""


# -- names that lead nowhere -----------------------------------------------------


class Unknown(LinkpoolError):
    """Names something that is not here."""


class UnknownMeeting(Unknown):
    """No meeting of this SID."""


class UnknownClaim(Unknown):
    """This customer holds no link of this meeting."""


class UnknownLink(Unknown):
    """No link of this slug."""


class UnknownEvent(Unknown):
    """No webhook event of this id."""


class UnknownKey(Unknown):
    """No API key of this id that is still good."""


class UnknownWorkspace(Unknown):
    """No workspace of this name."""
