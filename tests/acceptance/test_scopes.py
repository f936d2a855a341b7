"""Call every route of the API with every kind of key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from product import Product, signed, wait_until

from pool.access.api_keys import make_key
from pool.api.server.app import Application
from pool.config.settings import load
from pool.ledger import Ledger

KINDS = ("none", "wrong", "revoked", "claim", "read", "admin")
# Keys that are limited to the meeting of the table, or to another.
KINDS += ("claim here", "read here", "admin here", "admin elsewhere")
PAGES = "/ops"
IN = 0  # let in: the row's own status


def _who(*answers: int) -> dict[str, int]:
    """Return the status for each kind of key; an unknown key is never let in."""
    return dict(zip(KINDS, (401, 401, 401, *answers), strict=True))


CLAIM = _who(IN, 403, IN, IN, 403, IN, 403)
READ = _who(403, IN, IN, 403, IN, IN, 403)
READ_OF_ALL = _who(403, IN, IN, 403, 403, 403, 403)
READ_LIMITED = _who(403, IN, IN, 403, IN, IN, IN)  # the list shows the key's own meetings
ADMIN = _who(403, 403, IN, 403, 403, IN, 403)
ADMIN_OF_ALL = _who(403, 403, IN, 403, 403, 403, 403)
OPEN = dict.fromkeys(KINDS, IN)


@dataclass(frozen=True)
class Row:
    """A route, the keys that it admits, the body to send, and the answer to admitted keys."""

    who: dict[str, int]
    body: dict[str, Any] | None = None
    answered: tuple[int, ...] = (200,)


ROUTES = {
    ("POST", "/v1/meetings/{sid}/claims"): Row(CLAIM, {"customer_id": "held"}),
    ("POST", "/v1/tokens"): Row(
        CLAIM, {"meeting_sid": "scoped", "customer_id": "held"}, answered=(201,)
    ),
    ("GET", "/v1/meetings/{sid}/public-keys"): Row(READ),
    ("POST", "/v1/meetings/{sid}/public-keys"): Row(
        ADMIN, {"origins": ["https://www.example.com"]}, answered=(201,)
    ),
    ("DELETE", "/v1/meetings/{sid}/public-keys/{public_key}"): Row(ADMIN, answered=(404,)),
    # Its key is the token, and this is none.
    ("POST", "/v1/embed/claims"): Row(OPEN, {"token": "none"}, answered=(401,)),
    ("GET", "/v1/meetings/{sid}/claims/{customer_id}"): Row(READ),
    ("DELETE", "/v1/meetings/{sid}/claims/{customer_id}"): Row(ADMIN, answered=(204, 404)),
    ("POST", "/v1/meetings/{sid}/claims/{customer_id}/replace"): Row(
        ADMIN, {"reason": "burnt"}, answered=(200, 404)
    ),
    ("POST", "/v1/meetings/{sid}/claims:batch"): Row(CLAIM, {"claims": [{"customer_id": "held"}]}),
    ("GET", "/v1/links/{slug}"): Row(READ),
    ("GET", "/v1/links/{slug}/embed"): Row(READ, answered=(200, 404)),
    ("GET", "/v1/meetings"): Row(READ_LIMITED),
    ("GET", "/v1/meetings/{sid}"): Row(READ),
    ("PUT", "/v1/meetings/{sid}"): Row(ADMIN, {"min_fresh": 5}),
    ("POST", "/v1/meetings/{sid}/pause"): Row(ADMIN),
    ("POST", "/v1/meetings/{sid}/resume"): Row(ADMIN),
    ("POST", "/v1/meetings/{sid}/top-up"): Row(ADMIN),
    ("POST", "/v1/meetings/{sid}/drain"): Row(ADMIN),
    # Its key is the signature, and there is none here.
    ("POST", "/v1/webhooks/{workspace}"): Row(OPEN, answered=(401,)),
    ("POST", "/v1/webhooks/{workspace}/"): Row(OPEN, answered=(401,)),
    ("GET", "/v1/events"): Row(ADMIN_OF_ALL),
    ("POST", "/v1/events/{event_id}/replay"): Row(ADMIN_OF_ALL),
    ("POST", "/v1/events/replay"): Row(ADMIN_OF_ALL, {"state": "dead"}, answered=(202,)),
    ("POST", "/v1/events/{event_id}/assign"): Row(
        ADMIN_OF_ALL, {"slug": "one-off-of-nobody"}, answered=(404, 409)
    ),
    ("GET", "/embed.js"): Row(OPEN),
    # Only where `linkpool up` runs it on a sandbox, as here.
    ("GET", "/demo"): Row(OPEN),
    ("GET", "/demo/pool"): Row(OPEN),
    ("POST", "/demo/visitor"): Row(OPEN, answered=(303,)),
    ("POST", "/demo/link"): Row(OPEN, answered=(303,)),
    ("GET", "/demo/static/{name}"): Row(OPEN, answered=(404,)),
    ("GET", "/embed/{digest}.js"): Row(OPEN),
    ("GET", "/"): Row(OPEN),
    ("GET", "/livez"): Row(OPEN),
    ("GET", "/readyz"): Row(OPEN),
    ("GET", "/healthz"): Row(READ_OF_ALL),
    ("GET", "/metrics"): Row(OPEN),
    ("GET", "/openapi.json"): Row(OPEN),
    ("GET", "/docs"): Row(OPEN),
    ("GET", "/problems"): Row(OPEN),
    ("GET", "/problems/"): Row(OPEN),
    ("GET", "/problems/{name}"): Row(OPEN),
}


@pytest.fixture(scope="module")
def keys(shared: Product) -> dict[str, str]:
    """Return one key of each kind; "" for none."""
    here, elsewhere = frozenset({"scoped"}), frozenset({"elsewhere"})
    limits = [("read", None), ("claim", None), ("read", None), ("admin", None)]
    limits += [("claim", here), ("read", here), ("admin", here), ("admin", elsewhere)]
    revoked, *made = asyncio.run(_add(shared, limits))
    wait_until(lambda: shared.api("GET", "/v1/meetings", key=made[-1]).status_code == 200, 5)
    assert shared.command("keys", "revoke", revoked[3:11]).returncode == 0
    wait_until(lambda: shared.api("GET", "/v1/meetings", key=revoked).status_code == 401, 5)
    wrong = made[2][:-1] + ("x" if made[2][-1] != "x" else "y")  # an admin's but for a letter
    return dict(zip(KINDS, ["", wrong, revoked, *made], strict=True))


async def _add(product: Product, limits: list[tuple[str, frozenset[str] | None]]) -> list[str]:
    ledger = Ledger.open(f"sqlite:///{product.data / 'ledger.sqlite3'}")
    made = [make_key(frozenset({scope}), meetings, "scopes") for scope, meetings in limits]
    for _, kept in made:
        await ledger.keys.add(kept)
    await ledger.close()
    return [key for key, _ in made]


@pytest.fixture(scope="module")
def names(shared: Product) -> dict[str, str]:
    """Return values for the parameters of the paths, which name existing things."""
    shared.put("scoped", min_fresh=5, cover_seconds=0)
    body = b'{"event": "something_else"}'
    answer = shared.api(
        "POST", "/v1/webhooks/default", key="", content=body, headers=signed(shared, body)
    )
    slug = shared.slug("scoped", "held")
    return {
        "sid": "scoped",
        "customer_id": "held",
        "slug": slug,
        "workspace": "default",
        "event_id": answer.json()["event_id"],
        "name": "pool-empty",
        "digest": "none",
        "public_key": "pk_of_nobody",
    }


def test_the_table_names_every_route(product: Product) -> None:
    """A route that is added, documented or not, must be listed here with the keys that may
    use it.
    """
    assert {each for each in _all_routes(product) if not each[1].startswith(PAGES)} == set(ROUTES)


def test_operators_pages_show_nothing_without_signing_in(
    product: Product, keys: dict[str, str], names: dict[str, str]
) -> None:
    """Pages have a sign-in of their own, and an API key in a header opens none of them."""
    pages = [each for each in _all_routes(product) if each[1].startswith(PAGES)]
    assert len(pages) >= 3
    wait_until(lambda: product.meeting("scoped")["fresh"] >= 5, 20, what="the pool is full")
    before = product.meeting("scoped")
    for method, path in pages:
        place = re.sub(r"{(\w+)}", lambda found: names.get(found[1], "scoped"), path)
        for key in ("", keys["admin"]):
            answer = product.api(method, place, key=key)
            assert answer.status_code in (200, 303, 401, 403, 404, 405, 422), (place, answer.text)
            told = answer.text.replace(place, "")  # what was asked may be said again
            assert not any(secret in told for secret in ("scoped", "held", names["slug"])), place
    after = product.meeting("scoped")
    assert (after["paused"], after["fresh"]) == (before["paused"], before["fresh"])


def _all_routes(product: Product) -> set[tuple[str, str]]:
    framework = Application(load(product.environment())).framework
    return {
        (method, route.path.replace(":path}", "}"))
        for route in _routes(framework.routes)
        for method in route.methods - {"HEAD"}
    }


def _routes(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        if (included := getattr(route, "original_router", None)) is not None:
            yield from _routes(included.routes)
        else:
            assert hasattr(route, "methods"), f"{route} lets in whoever it likes"
            yield route


def test_the_document_says_which_routes_want_a_key(product: Product) -> None:
    """The OpenAPI document marks exactly those routes that refuse a call without a key."""
    paths = product.api("GET", "/openapi.json", key="").json()["paths"]
    for (method, path), row in ROUTES.items():
        if path not in paths:
            continue
        wanted = "security" in paths[path][method.lower()]
        assert wanted is (row.who["none"] == 401), (method, path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_each_route_admits_exactly_its_keys(
    product: Product,
    keys: dict[str, str],
    names: dict[str, str],
    method: str,
    path: str,
    kind: str,
) -> None:
    """Each route admits exactly the keys with its scope and its meeting."""
    row = ROUTES[method, path]
    if method == "GET" and path.endswith("{customer_id}"):
        product.slug("scoped", "held")  # forgotten by a row below
    answer = product.api(method, path.format(**names), key=keys[kind], json=row.body)
    wanted = row.who[kind]
    problem = (
        answer.json()["type"] if "problem+json" in answer.headers.get("content-type", "") else ""
    )
    if wanted == IN:
        assert answer.status_code in row.answered, answer.text
        assert problem not in ("/problems/unauthorized", "/problems/forbidden")
    else:
        assert answer.status_code == wanted, answer.text
        name = {401: "unauthorized", 403: "forbidden"}[wanted]
        assert problem == f"/problems/{name}"


def test_a_limited_key_sees_its_own_meetings_only(product: Product, names: dict[str, str]) -> None:
    """A list of meetings holds no others, and the key's own meeting can be used."""
    product.put("its-own", min_fresh=2, cover_seconds=0)
    key = product.new_key("--scope", "admin", "--meeting", "its-own")
    listed = product.api("GET", "/v1/meetings", key=key).json()["meetings"]
    assert [meeting["sid"] for meeting in listed] == ["its-own"]
    assert product.claim("its-own", "x", key=key).status_code == 201
    assert product.api("GET", f"/v1/links/{names['slug']}", key=key).status_code == 403


def test_pages_for_people_need_no_key_to_sign_in(product: Product) -> None:
    """/docs and /ops answer, and /ops shows pools only between signing in and signing out."""
    assert product.api("GET", "/docs", key="").status_code == 200
    assert product.api("GET", "/ops", key="").headers["location"] == "/ops/sign-in"
    assert "API key" in product.api("GET", "/ops/sign-in", key="").text
    reader = product.new_key("--scope", "read", "--meeting", "demo")
    refused = product.api("POST", "/ops/sign-in", key="", data={"key": "wrong"})
    assert refused.status_code == 401
    answer = product.api("POST", "/ops/sign-in", key="", data={"key": reader})
    assert answer.status_code == 303
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert "HttpOnly" in answer.headers["set-cookie"]
    shown = product.api("GET", "/ops", key="", headers=cookie).text
    assert "demo" in shown
    assert "scoped" not in shown
    assert reader not in shown
    product.command("keys", "revoke", reader[3:11])
