"""Errors of the client: one class for each problem that linkpool names.

LinkpoolError
├── NotReachable          no answer in time
├── UnusableAnswer        an answer, but not linkpool's: a proxy's page, a wrong address
└── Problem               linkpool refused, and said why; also a problem of an unknown name
    ├── MalformedJson · TooLarge · InvalidCustomerId · InvalidRequest
    ├── Unauthorized · BadSignature · Forbidden
    ├── Unknown           UnknownMeeting · UnknownClaim · UnknownLink · UnknownWorkspace
    ├── NotReplaceable · RateLimited
    ├── Unavailable       PoolEmpty · PoolPaused · Recovering · StoreUnavailable ·
    │                     LedgerUnavailable · StillErasing · TooManyConnections
    └── ProviderFailed · InternalError
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class LinkpoolError(Exception):
    """Be the base of everything that a client raises about linkpool's answers."""


class NotReachable(LinkpoolError):
    """No answer came within the time that the call has."""


class UnusableAnswer(LinkpoolError):
    """The answer is not linkpool's. Check the client's address and the proxies in between."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Problem(LinkpoolError):
    """linkpool refused the call. A name that this client does not know yet is raised as this.

    `retry_after_seconds` is linkpool's `Retry-After`. `fallback_url` is the meeting's plain link,
    where the operator set one. `errors` says which fields were wrong and why.
    """

    problem_name: ClassVar[str] = ""

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        name: str = "",
        title: str = "",
        errors: tuple[str, ...] = (),
        fallback_url: str | None = None,
        retry_after_seconds: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.name = name or self.problem_name
        self.title = title
        self.errors = errors
        self.fallback_url = fallback_url
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id

    def __str__(self) -> str:
        said = [f"{self.name} ({self.status}): {self.detail}", *self.errors]
        return "; ".join(said)


class MalformedJson(Problem):
    """The body is not a JSON object in UTF-8."""

    problem_name = "malformed-json"


class Unauthorized(Problem):
    """No key, a wrong one or a revoked one."""

    problem_name = "unauthorized"


class BadSignature(Problem):
    """The webhook's signature is missing or wrong."""

    problem_name = "bad-signature"


class Forbidden(Problem):
    """The key lacks the scope or the meeting."""

    problem_name = "forbidden"


class Unknown(Problem):
    """The thing that the call names does not exist."""

    problem_name = "not-found"


class UnknownMeeting(Unknown):
    """No such meeting."""

    problem_name = "unknown-meeting"


class UnknownClaim(Unknown):
    """The customer holds no link of this meeting."""

    problem_name = "unknown-claim"


class UnknownLink(Unknown):
    """linkpool made no link of this slug."""

    problem_name = "unknown-link"


class UnknownWorkspace(Unknown):
    """No such workspace."""

    problem_name = "unknown-workspace"


class TooLarge(Problem):
    """The body is larger than linkpool takes."""

    problem_name = "too-large"


class InvalidCustomerId(Problem):
    """The customer id is empty, too long or holds control characters."""

    problem_name = "invalid-customer-id"


class InvalidRequest(Problem):
    """A field is wrong; `errors` says which and why."""

    problem_name = "invalid-request"


class NotReplaceable(Problem):
    """The link is booked; cancel the booking at the provider instead."""

    problem_name = "not-replaceable"


class RateLimited(Problem):
    """Too many requests."""

    problem_name = "rate-limited"


class Unavailable(Problem):
    """Nothing is wrong with the call; try it later, or show `fallback_url` meanwhile."""

    problem_name = "unavailable"


class PoolEmpty(Unavailable):
    """No link at the moment."""

    problem_name = "pool-empty"


class PoolPaused(Unavailable):
    """An operator paused the meeting."""

    problem_name = "pool-paused"


class Recovering(Unavailable):
    """The pool is being recovered after Redis was restarted or replaced."""

    problem_name = "recovering"


class StoreUnavailable(Unavailable):
    """linkpool's Redis does not answer."""

    problem_name = "store-unavailable"


class LedgerUnavailable(Unavailable):
    """linkpool's database does not answer."""

    problem_name = "ledger-unavailable"


class StillErasing(Unavailable):
    """The customer cannot be found any more, but is not erased everywhere yet; ask again."""

    problem_name = "still-erasing"


class TooManyConnections(Unavailable):
    """linkpool has no room for another connection."""

    problem_name = "too-many-connections"


class ProviderFailed(Problem):
    """The scheduling provider gave no usable answer."""

    problem_name = "provider-failed"


class InternalError(Problem):
    """A defect of linkpool; its log has the reason under `request_id`."""

    problem_name = "internal-error"


def _named(kind: type[Problem]) -> Mapping[str, type[Problem]]:
    found = {kind.problem_name: kind} if kind.problem_name else {}
    for narrower in kind.__subclasses__():
        found |= _named(narrower)
    return found


BY_NAME: Mapping[str, type[Problem]] = _named(Problem)
