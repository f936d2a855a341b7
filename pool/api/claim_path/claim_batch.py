"""Claim for many customers of one meeting in one request.

Each customer takes the same steps as a claim of its own: the same limits, the same desk, the same
answer or error. Few enough are put in line at a time that visitors who come meanwhile wait for two
script calls at most.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec

from pool.api.claim_path.answers import ClaimBody, claim_body
from pool.api.claim_path.claim_body import ClaimRequest
from pool.api.claim_path.claim_lane import Admitted, ClaimLane
from pool.api.http.messages import Headers
from pool.claims.queue import Receipt
from pool.errors import InvalidRequest, MalformedJson, PoolEmpty, RateLimited, StoreError
from pool.store.records import BATCH_LIMIT

BATCH_CUSTOMERS = 1_000
_IN_LINE = 2 * BATCH_LIMIT  # the customers of two script calls
_REFILL = BATCH_LIMIT

_encode = msgspec.json.Encoder().encode
_loose = msgspec.json.Decoder()


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a batch: one claim per customer."""

    claims: Annotated[list[ClaimRequest], msgspec.Meta(max_length=BATCH_CUSTOMERS)]


class BatchProblem(msgspec.Struct, frozen=True):
    """Explain why one customer got no link, as a claim of its own would."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[str] | msgspec.UnsetType = msgspec.UNSET
    fallback_url: str | msgspec.UnsetType = msgspec.UNSET
    retry_after_seconds: int | msgspec.UnsetType = msgspec.UNSET


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One customer's result: the status of a claim of its own, with the claim or the problem.

    `customer_id` is null if the request named none.
    """

    customer_id: str | None
    status: int
    claim: ClaimBody | None = None
    problem: BatchProblem | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """The results of a batch, in the order of its claims."""

    results: list[BatchResult]


class _Unread(msgspec.Struct, forbid_unknown_fields=True):
    claims: list[msgspec.Raw]


_unread = msgspec.json.Decoder(_Unread)


def parse_batch(body: bytes) -> list[msgspec.Raw]:
    """Return the claims in a body, not yet parsed. Raise MalformedJson or InvalidRequest."""
    try:
        claims = _unread.decode(body).claims
    except msgspec.ValidationError as error:
        if not body.lstrip(b" \t\r\n").startswith(b"{"):
            raise MalformedJson("the body is JSON, but not an object") from None
        raise InvalidRequest("invalid batch", [str(error)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson(f"the body is not JSON: {error}") from None
    if len(claims) > BATCH_CUSTOMERS:
        raise InvalidRequest(
            "the batch is too large",
            [f"claims: {len(claims)} of at most {BATCH_CUSTOMERS} - `$.claims`"],
        )
    return claims


class ClaimBatch:
    """One batch under way."""

    def __init__(self, lane: ClaimLane, sid: str, headers: Headers, address: str) -> None:
        self._lane = lane
        self._sid = sid
        self._headers = headers
        self._address = address
        self._first: Admitted | None = None
        self._results: list[bytes] = []
        self._in_line = 0
        self._changed: asyncio.Future[None] | None = None
        # Failures of a pool. Its remaining customers get the same error without waiting.
        self._outages: dict[str, StoreError] = {}
        self._empty: dict[str, PoolEmpty] = {}

    async def claim(self, claims: list[msgspec.Raw]) -> bytes:
        """Claim for each customer. Return the body that answers the batch."""
        self._results = [b""] * len(claims)
        for at, raw in enumerate(claims):
            if self._in_line >= _IN_LINE:
                await self._until(_IN_LINE - _REFILL)
            self._begin(at, bytes(raw))
        await self._until(0)
        return b'{"results":[%b]}' % b",".join(self._results)

    async def _until(self, in_line: int) -> None:
        """Wait until at most this number of customers are in line."""
        while self._in_line > in_line:
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed

    def _begin(self, at: int, raw: bytes) -> None:
        admitted: Admitted | None = None
        try:
            if self._sid in self._outages:
                raise self._outages[self._sid]
            if self._first is None:
                admitted = self._lane.admit(self._sid, self._headers, self._address)
                self._first = admitted
            else:
                admitted = self._lane.another(self._first, self._headers)
            admitted.read(raw)
            pool = self._lane.pool_of(admitted)
            if pool in self._outages:
                raise self._outages[pool]
            # With an empty pool, only those who hold a link are still served; otherwise each of
            # the others would wait for the provider in turn.
            admitted.limited = admitted.limited or pool in self._empty
            self._in_line += 1
            try:
                self._lane.join(admitted, _Place(self, at, admitted))
            except BaseException:
                self._in_line -= 1
                raise
        except Exception as error:  # noqa: BLE001 - `refusal` has an answer for each
            self._refuse(at, _customer_id(raw), error, admitted)

    def answered(self, at: int, admitted: Admitted, receipt: Receipt) -> None:
        """Note one customer's claim. Never raise."""
        customer_id = admitted.request.customer_id
        try:
            if receipt.reused:
                self._lane.give_back(admitted)
            workspace = self._lane.workspace(receipt.meeting)
            body = claim_body(receipt, customer_id, workspace)
            status = 200 if receipt.reused else 201
            self._results[at] = _encode(BatchResult(customer_id, status, body))
        except Exception as error:  # noqa: BLE001 - `refusal` has an answer for each
            self._refuse(at, customer_id, error, admitted)
        self._leave()

    def refused(self, at: int, admitted: Admitted, error: BaseException) -> None:
        """Note why one customer has no link. Never raise."""
        pool = self._lane.pool_of(admitted)
        if isinstance(error, StoreError):
            self._outages[pool] = error
        elif isinstance(error, PoolEmpty):
            self._empty[pool] = error
        elif isinstance(error, RateLimited) and pool in self._empty:
            error = self._empty[pool]
        self._refuse(at, admitted.request.customer_id, error, admitted)
        self._leave()

    def _refuse(
        self, at: int, customer_id: str | None, error: BaseException, admitted: Admitted | None
    ) -> None:
        if admitted is not None:
            self._lane.give_back(admitted)
        status, headers, body = self._lane.refusal(self._sid, error)
        problem: dict[str, Any] = _loose.decode(body)
        for name, value in headers:
            if name == b"retry-after":
                problem["retry_after_seconds"] = int(value)
        self._results[at] = _encode(
            {"customer_id": customer_id, "status": status, "problem": problem}
        )

    def _leave(self) -> None:
        self._in_line -= 1
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class _Place:
    """One customer's place in line: a waiter for the desk."""

    __slots__ = ("_admitted", "_at", "_batch")

    def __init__(self, batch: ClaimBatch, at: int, admitted: Admitted) -> None:
        self._batch = batch
        self._at = at
        self._admitted = admitted

    def done(self) -> bool:
        """Return False: somebody waits for every customer's result."""
        return False

    def set_result(self, receipt: Receipt, /) -> None:
        """Take the claim."""
        self._batch.answered(self._at, self._admitted, receipt)

    def set_exception(self, error: BaseException, /) -> None:
        """Take the reason why there is no claim."""
        self._batch.refused(self._at, self._admitted, error)


def _customer_id(raw: bytes) -> str | None:
    """Return the id in a claim that may not be readable otherwise, None if there is none."""
    try:
        found = _loose.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    named = found.get("customer_id") if isinstance(found, dict) else None
    return named if isinstance(named, str) else None
