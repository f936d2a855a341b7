"""Each call as a value: what is sent, how its answer is read, and whether it may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from linkpool_client import answers
from linkpool_client.errors import UnusableAnswer
from linkpool_client.models import BatchResult, Claim, Claimed, Customer, EmbedType, Link, Token

T = TypeVar("T")

BATCH_SIZE = 1000  # as many customers does linkpool take in one batch


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call. `repeatable` calls mean the same however often linkpool gets them."""

    method: str
    path: str
    interpret: Callable[[httpx.Response], T]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None
    repeatable: bool = True

    def read(self, response: httpx.Response) -> T:
        """Return the answer's value; raise UnusableAnswer if it is not what linkpool sends."""
        try:
            return self.interpret(response)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UnusableAnswer(
                f"the answer to {self.method} {self.path} is not as linkpool sends it: {error!r}",
                status=response.status_code,
            ) from error


def claim(
    meeting: str,
    customer: Customer,
    embed: EmbedType | None,
    prefill: Mapping[str, str] | None,
    options: Mapping[str, Any] | None,
) -> Call[Claimed]:
    """Claim a link. Repeated, it answers the same link."""
    if embed is None and (prefill or options):
        raise ValueError("prefill and options belong to embed code; name a type with embed=")

    def interpret(response: httpx.Response) -> Claimed:
        found = answers.claimed(response.json())
        if embed is not None and found.embed_html is None:
            raise ValueError("it has no embed_html")
        return found

    body = (
        _customer(customer) | dict(options or {}) | ({"prefill": dict(prefill)} if prefill else {})
    )
    query = None if embed is None else {"embed": embed}
    return Call("POST", f"{_meeting(meeting)}/claims", interpret, body=body, query=query)


def get(meeting: str, customer_id: str) -> Call[Claim]:
    """Look up the link that a customer holds."""
    return Call("GET", _claim(meeting, customer_id), _bare_claim)


def forget(meeting: str, customer_id: str) -> Call[None]:
    """Erase a customer."""
    return Call("DELETE", _claim(meeting, customer_id), _nothing)


def replace_link(meeting: str, customer_id: str, reason: str, slug: str | None) -> Call[Claim]:
    """Give a fresh link instead of one that does not work.

    With the slug of that one, repeats do nothing; without it, each would spend another link.
    """
    path = f"{_claim(meeting, customer_id)}/replace"
    body = {"reason": reason} if slug is None else {"reason": reason, "slug": slug}
    return Call("POST", path, _bare_claim, body=body, repeatable=slug is not None)


def claim_batch(meeting: str, customers: Iterable[Customer]) -> Iterator[Call[list[BatchResult]]]:
    """Yield the calls that claim for all customers, in pieces that linkpool takes."""
    rest = iter(customers)
    while piece := list(islice(rest, BATCH_SIZE)):
        yield _claim_piece(meeting, piece)


def _claim_piece(meeting: str, piece: list[Customer]) -> Call[list[BatchResult]]:
    def interpret(response: httpx.Response) -> list[BatchResult]:
        results = answers.batch_results(response.json())
        if [each.customer_id for each in results] != [each.customer_id for each in piece]:
            raise ValueError("the results are not those of the customers, in their order")
        return results

    body = {"claims": [_customer(each) for each in piece]}
    return Call("POST", f"{_meeting(meeting)}/claims:batch", interpret, body=body)


def token(meeting: str, customer_id: str, email: str | None, expires_in: int) -> Call[Token]:
    """Ask for a token for a browser."""
    body = {"meeting_sid": meeting, "customer_id": customer_id, "expires_in_seconds": expires_in}
    if email is not None:
        body["email"] = email
    return Call("POST", "/v1/tokens", lambda response: answers.token(response.json()), body=body)


def link(slug: str) -> Call[Link]:
    """Look up a link and its history."""
    return Call(
        "GET", f"/v1/links/{_segment(slug)}", lambda response: answers.link(response.json())
    )


def embed_html(slug: str, embed: EmbedType) -> Call[str]:
    """Ask for the embed code of a link."""
    path = f"/v1/links/{_segment(slug)}/embed"
    return Call("GET", path, _html, query={"type": embed, "format": "html"})


def _bare_claim(response: httpx.Response) -> Claim:
    return answers.claim(response.json()["claim"])


def _nothing(_: httpx.Response) -> None:
    return None


def _html(response: httpx.Response) -> str:
    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/html"):
        raise ValueError(f"its type is {kind or 'missing'}, not text/html")
    return response.text


def _customer(customer: Customer) -> dict[str, Any]:
    body: dict[str, Any] = {"customer_id": customer.customer_id}
    if customer.email is not None:
        body["email"] = customer.email
    if customer.metadata is not None:
        body["metadata"] = dict(customer.metadata)
    return body


def _meeting(meeting: str) -> str:
    return f"/v1/meetings/{_segment(meeting)}"


def _claim(meeting: str, customer_id: str) -> str:
    return f"{_meeting(meeting)}/claims/{_segment(customer_id)}"


def _segment(text: str) -> str:
    """Return text as one segment of a path: an id of `..` or with a slash is still an id."""
    if not text:
        raise ValueError("a meeting, a customer id or a slug is empty")
    return quote(text, safe="").replace(".", "%2E")
