"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeVar

import httpx

from linkpool_client import calls
from linkpool_client.calls import Call
from linkpool_client.connection import Address, customers, new_http, not_a_string
from linkpool_client.models import BatchResult, Claim, Claimed, Customer, EmbedType, Link, Token
from linkpool_client.retries import Attempts, Retries

T = TypeVar("T")


class AsyncClient:
    """Speak to a linkpool. Make one and keep it for its event loop: it keeps connections open.

    `timeout_seconds` is for one attempt, `retries` bounds a whole call. Give `http` for proxies,
    certificates or transports of your own; it stays yours to close.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_seconds: float = 5.0,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._address = Address(url, key)
        self._timeout_seconds = timeout_seconds
        self._retries = retries or Retries()
        self._own = http is None
        self._http = http or httpx.AsyncClient(**new_http())

    async def claim(
        self,
        meeting: str,
        customer_id: str,
        *,
        email: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        embed: EmbedType | None = None,
        prefill: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Claimed:
        """Claim a link for a customer: the one they hold, or a fresh one.

        With `embed` the answer has the code to paste into the page, as `embed_html`. `prefill`
        fills in the booking form by field code and is not kept; `options` are `nonce` and the
        others of docs/embeds.md.
        """
        customer = Customer(customer_id, email, metadata)
        return await self._send(calls.claim(meeting, customer, embed, prefill, options))

    async def get(self, meeting: str, customer_id: str) -> Claim:
        """Return the link that a customer holds; raise UnknownClaim if there is none."""
        return await self._send(calls.get(meeting, customer_id))

    async def forget(self, meeting: str, customer_id: str) -> None:
        """Erase a customer. Raise StillErasing if that takes longer; repeat the call then."""
        await self._send(calls.forget(meeting, customer_id))

    async def replace(
        self, meeting: str, customer_id: str, reason: str, *, slug: str | None = None
    ) -> Claim:
        """Give a customer a fresh link instead of one that does not work, named by its slug.

        Without the slug the call is repeated only where linkpool surely did nothing: each repeat
        would spend a link. Raise NotReplaceable if the link is booked.
        """
        return await self._send(calls.replace_link(meeting, customer_id, reason, slug))

    async def claim_batch(self, meeting: str, batch: Iterable[Customer | str]) -> list[BatchResult]:
        """Claim for many customers; return one result for each, in their order.

        After an error call it again with the same customers: who holds a link keeps it.
        """
        not_a_string(batch)
        pieces = calls.claim_batch(meeting, customers(batch))
        return [result for piece in pieces for result in await self._send(piece)]

    async def token(
        self, meeting: str, customer_id: str, *, email: str | None = None, expires_in: int = 3600
    ) -> Token:
        """Return a token with which a browser claims for this meeting and customer.

        `expires_in` is in seconds, at most a day. `sign_token` makes one without asking.
        """
        return await self._send(calls.token(meeting, customer_id, email, expires_in))

    async def link(self, slug: str) -> Link:
        """Return a link and its history; raise UnknownLink if linkpool did not make it."""
        return await self._send(calls.link(slug))

    async def embed_html(self, slug: str, embed: EmbedType = "inline") -> str:
        """Return the code that shows a claimed link on a page."""
        return await self._send(calls.embed_html(slug, embed))

    async def aclose(self) -> None:
        """Close the connections, unless they are those of an `http` that was given."""
        if self._own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._address!r}>"

    async def _send(self, call: Call[T]) -> T:
        attempts = Attempts(call, self._retries, self._timeout_seconds)
        while True:
            try:
                request = self._address.request(call, attempts.timeout_seconds())
                response = await self._http.request(**request)
            except httpx.RequestError as error:
                wait_seconds = attempts.after_failure(error)
            else:
                if response.is_success:
                    return call.read(response)
                wait_seconds = attempts.after_refusal(response)
            await asyncio.sleep(wait_seconds)
