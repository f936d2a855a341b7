"""Hold every answer to what all answers have in common, whichever door it leaves by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from product import Product


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/meetings/demo/claims"),
        ("GET", "/v1/meetings"),
        ("GET", "/livez"),
        ("GET", "/nowhere"),
        ("GET", "/problems"),
    ],
)
def test_request_ids_are_echoed_if_sane(product: Product, method: str, path: str) -> None:
    """A sane X-Request-Id is returned, and any other is replaced by a new one."""

    def said(identity: str | bytes | None) -> str:
        headers = {} if identity is None else {"X-Request-Id": identity}
        body = {"customer_id": "x"} if method == "POST" else None
        answer = product.api(method, path, headers=headers, json=body)
        return answer.headers["x-request-id"]

    for sane in ("abc-123", "0b:1_2.3", "x" * 128):
        assert said(sane) == sane
    ours = said(None)
    assert ours
    assert said(None) != ours
    for insane in ("", "a b", "x" * 129, "<script>", 'a"b', "Zoë".encode()):
        given = insane if isinstance(insane, str) else insane.decode("latin-1")
        assert said(insane) not in ("", given)


def test_every_problem_has_its_page(product: Product) -> None:
    """The list of problem types links to a page for each."""
    listing = product.api("GET", "/problems", key="").text
    names = set(_hrefs(listing))
    assert len(names) >= 20
    for name in names:
        assert product.api("GET", name, key="").status_code == 200


def _hrefs(page: str) -> Iterator[str]:
    for piece in page.split('href="')[1:]:
        yield piece.partition('"')[0]


@contextlib.asynccontextmanager
async def _both_doors(product: Product) -> AsyncIterator[tuple[httpx.AsyncClient, ...]]:
    """Yield an API process's application on the product's data, with and without the lane."""
    from pool.api.server.app import Application
    from pool.config.settings import load

    application = Application(load(product.environment()))
    framework = application.framework
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(framework.router.lifespan_context(framework))
        yield tuple(
            [
                await stack.enter_async_context(
                    httpx.AsyncClient(
                        transport=httpx.ASGITransport(door), base_url="http://linkpool"
                    )
                )
                for door in (application, framework)
            ]
        )


async def test_lane_and_framework_answer_byte_for_byte_the_same(product: Product, sid: str) -> None:
    """The framework's documented claim route gives the same answer as the lane."""
    key = {"X-API-Key": product.key, "X-Request-Id": "same"}
    product.claim(sid, "held")
    good = b'{"customer_id": "held"}'
    cases: list[tuple[str, bytes, dict[str, str]]] = [
        (sid, good, key),
        (sid, b"{", key),
        (sid, b'{"customer_id": ""}', key),
        (sid, b'{"customer_id": "x", "colour": 1}', key),
        (sid, good, {}),
        (sid, good.ljust(16 * 1024 + 1), key),
        ("nowhere", good, key),
        ("a.b", good, key),
        ("%C3%A4", good, key),
    ]
    async with _both_doors(product) as (lane, framework):
        for meeting, body, headers in cases:
            url = f"/v1/meetings/{meeting}/claims"
            one, other = await asyncio.gather(
                lane.post(url, content=body, headers=headers),
                framework.post(url, content=body, headers=headers),
            )
            assert one.status_code == other.status_code, (meeting, body)
            assert one.content == other.content
            # The request id is the outermost layer's, which the bare framework is without.
            mine = {name: v for name, v in one.headers.items() if name != "x-request-id"}
            assert mine == dict(other.headers)
