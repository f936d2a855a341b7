"""Define every error that linkpool raises on purpose.

LinkpoolError
├── SettingsError              a setting is missing or wrong; names it
├── StoreError                 the pool in Redis
│   ├── StoreUnavailable       cannot be reached, or refuses writes
│   │   └── NotInForceYet      the ledger has a change that Redis lacks
│   ├── StillErasing           some of a customer's data is still there
│   └── Fenced                 it may have forgotten a claim: recovery is due or under way
├── LedgerError                the SQL database
│   └── LedgerUnavailable      cannot be reached, or locked for too long
├── ProviderError              the scheduling provider; `maybe_made`: a link may have been made
│   ├── WorkspaceRefused       401: the API key is not accepted
│   ├── MeetingRefused         400, 403, 404, 422: no links can be made for this meeting
│   ├── Throttled              429
│   ├── ProviderFailed         5xx, time-out, broken connection
│   └── BadAnswer              an answer that is not what the provider documents
├── NotifyFailed               the operators' webhook did not accept a notice
├── ClaimRefused               a claim that gets no link
│   ├── PoolEmpty
│   ├── PoolPaused
│   └── RateLimited
├── RequestRefused             a request that cannot be served
│   ├── MalformedJson
│   ├── InvalidRequest
│   ├── InvalidCustomerId
│   ├── TooLarge
│   ├── Unauthorized
│   ├── InvalidToken
│   ├── InvalidPublicKey
│   ├── OriginNotAllowed
│   ├── Forbidden
│   ├── NotAssignable
│   ├── BodyErased
│   ├── NotReplaceable
│   └── BadSignature
└── Unknown                    something that does not exist
    ├── UnknownMeeting
    ├── UnknownClaim
    ├── UnknownLink
    ├── UnknownEvent
    ├── UnknownKey
    └── UnknownWorkspace

The message of an error is one sentence for the person who must act on it. It never holds a
secret, a customer id or a slug.
"""

from __future__ import annotations

from collections.abc import Sequence


class LinkpoolError(Exception):
    """Base of all errors that linkpool raises on purpose."""


class SettingsError(LinkpoolError):
    """A setting is missing or wrong."""

    def __init__(self, name: str, problem: str) -> None:
        """Make the message one line, since names that others chose may hold any characters."""
        text = f"{name}: {problem}"
        super().__init__("".join(each if each.isprintable() else "?" for each in text))
        self.name = name


# -- the pool in Redis ---------------------------------------------------------


class StoreError(LinkpoolError):
    """Redis did not do what was asked."""


class StoreUnavailable(StoreError):
    """Redis cannot be reached in time, or refuses to write.

    `connection_lost` means that the connection broke, so that another one may work; `is_outage`
    means that any command would have failed, and not only this one; `of_one_master`, that masters
    of other meetings on the same Redis Cluster may answer nevertheless.
    """

    def __init__(
        self,
        message: str,
        *,
        connection_lost: bool = False,
        is_outage: bool = False,
        of_one_master: bool = False,
    ) -> None:
        super().__init__(message)
        self.connection_lost = connection_lost
        self.is_outage = connection_lost or is_outage
        self.of_one_master = of_one_master


class NotInForceYet(StoreUnavailable):
    """The ledger holds a change that Redis lacks; a worker takes it there once Redis answers."""


class StillErasing(StoreError):
    """Some data of a customer could not be erased yet; the workers go on with it."""


class Fenced(StoreError):
    """This Redis may have forgotten a claim, so it hands out nothing until recovered."""

    def __init__(self, sid: str) -> None:
        # `sid` may be the name of one of several pools, which begins with the meeting's SID.
        super().__init__(f"the pool of meeting {sid.partition(':')[0]} is being recovered")
        self.sid = sid


# -- the ledger ----------------------------------------------------------------


class LedgerError(LinkpoolError):
    """The SQL database did not do what was asked."""


class LedgerUnavailable(LedgerError):
    """The database cannot be reached in time, or is locked by another writer.

    `refusal` says what is wrong with LINKPOOL_DATABASE_URL where the database answers and
    refuses: a process that starts stops there, one that serves waits for it to be mended.
    """

    def __init__(self, message: str, *, refusal: str = "") -> None:
        super().__init__(message)
        self.refusal = refusal


# -- the provider --------------------------------------------------------------


class ProviderError(LinkpoolError):
    """The provider gave no usable link.

    `maybe_made` is True when the provider may have made a link that nobody knows of (its reply
    was lost or unreadable); such links are counted.
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
    """400, 403, 404 or 422: this meeting does not exist at the provider, or allows no links."""

    outcome = "refused"


class Throttled(ProviderError):
    """429. `retry_after_seconds` is the unbounded wait that the provider asked for, if any."""

    outcome = "throttled"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None):
        super().__init__(message, status=429)
        self.retry_after_seconds = retry_after_seconds


class ProviderFailed(ProviderError):
    """5xx, a time-out or a broken connection."""


class BadAnswer(ProviderError):
    """The provider's answer is not one that it documents."""

    outcome = "bad-answer"


# -- notices -------------------------------------------------------------------


class NotifyFailed(LinkpoolError):
    """The operators' webhook did not accept a notice. `final`: it will not do so later either."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


# -- claims --------------------------------------------------------------------


class ClaimRefused(LinkpoolError):
    """There is no link for this claim now; try again after `retry_after_seconds`."""

    def __init__(self, message: str, *, retry_after_seconds: int = 1):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PoolEmpty(ClaimRefused):
    """The pool has no fresh link, and none could be made on the spot."""

    def __init__(
        self, message: str, *, retry_after_seconds: int = 2, fallback_url: str | None = None
    ):
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.fallback_url = fallback_url


class PoolPaused(ClaimRefused):
    """The meeting is paused by an operator or closed at the provider.

    Customers who hold a link still get it.
    """


class RateLimited(ClaimRefused):
    """This key or address has bound too many new links."""


# -- requests ------------------------------------------------------------------


class RequestRefused(LinkpoolError):
    """The request cannot be served as it is."""


class MalformedJson(RequestRefused):
    """The body is not a JSON object in UTF-8."""


class InvalidRequest(RequestRefused):
    """The request has wrong types, unknown fields or values out of range; `errors` says where."""

    def __init__(self, message: str, errors: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors) or (message,)


class InvalidCustomerId(RequestRefused):
    """The customer id is empty, has over 256 characters, or holds control characters."""


class TooLarge(RequestRefused):
    """The body is larger than this call accepts."""


class Unauthorized(RequestRefused):
    """There is no API key, or it is wrong or revoked."""

    wait_seconds = 0.0  # before the answer is sent, to a caller who tries often


class InvalidToken(RequestRefused):
    """The browser token is malformed, expired, or not signed with a secret of its key."""


class InvalidPublicKey(RequestRefused):
    """There is no such public key, or it was revoked."""


class OriginNotAllowed(RequestRefused):
    """The public key is not for pages of the origin that the request names, or it names none."""


class Forbidden(RequestRefused):
    """The API key does not cover this scope or meeting."""


class NotAssignable(RequestRefused):
    """The event cannot be assigned to this link: one of them is taken, or it is no booking."""


class BodyErased(RequestRefused):
    """The event's body is not kept any more, so the event cannot be replayed."""


class NotReplaceable(RequestRefused):
    """This customer's link is booked, so another link would allow a second booking."""


class BadSignature(RequestRefused):
    """The webhook's signature is missing or wrong."""


# -- things that do not exist ----------------------------------------------------


class Unknown(LinkpoolError):
    """The request names something that does not exist."""


class UnknownMeeting(Unknown):
    """There is no meeting with this SID."""


class UnknownClaim(Unknown):
    """This customer holds no link of this meeting."""


class UnknownLink(Unknown):
    """There is no link with this slug."""


class UnknownEvent(Unknown):
    """There is no webhook event with this id."""


class UnknownKey(Unknown):
    """There is no valid API key with this id."""


class UnknownWorkspace(Unknown):
    """There is no workspace with this name."""


def is_away(error: Exception) -> bool:
    """Return True if Redis or the ledger is away, which concerns every meeting.

    A refusal of a single command concerns only the meeting whose keys it names.
    """
    if isinstance(error, StoreUnavailable):
        return error.is_outage and not error.of_one_master
    return isinstance(error, LedgerUnavailable)
