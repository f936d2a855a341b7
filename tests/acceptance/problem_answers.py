"""Check that an answer is the problem document that the contract names."""

from __future__ import annotations

from typing import Any

import httpx
from product import Product


def check(
    product: Product,
    answer: httpx.Response,
    status: int,
    name: str,
    *,
    instance: str | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """Check that an answer is this problem, in all that the contract names. Return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{name}", body
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == (instance or answer.request.url.path)
    assert ("retry-after" in answer.headers) is retry
    if retry:
        assert int(answer.headers["retry-after"]) >= 1
    page = product.api("GET", body["type"], key="")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert body["title"] in page.text
    return body


def raw(product: Product, sid: str, content: Any, **more: Any) -> httpx.Response:
    """Send a claim with any body."""
    return product.api("POST", f"/v1/meetings/{sid}/claims", content=content, **more)
