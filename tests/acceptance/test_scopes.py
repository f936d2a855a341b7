"""Every route of the API against every kind of key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from product import Product, signed

KINDS = ("none", "claim", "read", "admin", "elsewhere")
# What each kind of key is answered: 401 and 403 are the guard's, "in" is anything else.
CLAIM = dict(zip(KINDS, (401, "in", 403, "in", 403), strict=True))
READ = dict(zip(KINDS, (401, 403, "in", "in", 403), strict=True))
# A list shows a limited key its own meetings, and a link is known to be another's only
# once it is found.
READ_LIMITED = dict(zip(KINDS, (401, 403, "in", "in", "in"), strict=True))
ADMIN = dict(zip(KINDS, (401, 403, 403, "in", 403), strict=True))
OPEN = dict.fromkeys(KINDS, "in")


@dataclass(frozen=True)
class Row:
    """A route, who gets in, and what to send."""

    who: dict[str, Any]
    body: dict[str, Any] | None = None


ROUTES = {
    ("POST", "/v1/meetings/{sid}/claims"): Row(CLAIM, {"customer_id": "held"}),
    ("GET", "/v1/meetings/{sid}/claims/{customer_id}"): Row(READ),
    ("DELETE", "/v1/meetings/{sid}/claims/{customer_id}"): Row(ADMIN),
    ("GET", "/v1/links/{slug}"): Row(READ),
    ("GET", "/v1/meetings"): Row(READ_LIMITED),
    ("GET", "/v1/meetings/{sid}"): Row(READ),
    ("PUT", "/v1/meetings/{sid}"): Row(ADMIN, {"min_fresh": 5}),
    ("POST", "/v1/meetings/{sid}/pause"): Row(ADMIN),
    ("POST", "/v1/meetings/{sid}/resume"): Row(ADMIN),
    ("POST", "/v1/meetings/{sid}/top-up"): Row(ADMIN),
    ("POST", "/v1/meetings/{sid}/drain"): Row(ADMIN),
    ("POST", "/v1/webhooks/{workspace}"): Row(OPEN),
    ("GET", "/v1/events"): Row(ADMIN),
    ("POST", "/v1/events/{event_id}/replay"): Row(ADMIN),
    ("GET", "/livez"): Row(OPEN),
    ("GET", "/readyz"): Row(OPEN),
    ("GET", "/metrics"): Row(OPEN),
}


@pytest.fixture(scope="module")
def keys(shared: Product) -> dict[str, str]:
    """One key of each kind; "" for none."""
    made = shared.new_keys(
        ("--scope", "claim"),
        ("--scope", "read"),
        ("--scope", "admin"),
        ("--scope", "admin", "--meeting", "elsewhere"),
    )
    return dict(zip(KINDS, ["", *made], strict=True))


@pytest.fixture(scope="module")
def names(shared: Product) -> dict[str, str]:
    """What the paths' parameters stand for: things that exist."""
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
    }


def test_the_table_names_every_documented_route(product: Product) -> None:
    """A route that is added must say here who may use it."""
    paths = product.api("GET", "/openapi.json", key="").json()["paths"]
    documented = {
        (method.upper(), path.replace(":path}", "}"))
        for path, methods in paths.items()
        for method in methods
    }
    assert documented == set(ROUTES)


def test_the_document_says_which_routes_want_a_key(product: Product) -> None:
    """OpenAPI's security is there exactly where a call without a key is refused."""
    paths = product.api("GET", "/openapi.json", key="").json()["paths"]
    for (method, path), row in ROUTES.items():
        wanted = "security" in paths[path][method.lower()]
        assert wanted is (row.who["none"] == 401), (method, path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_who_gets_in(
    product: Product,
    keys: dict[str, str],
    names: dict[str, str],
    method: str,
    path: str,
    kind: str,
) -> None:
    """Each route lets in exactly the keys with its scope and its meeting."""
    row = ROUTES[method, path]
    if kind == "admin" and path == "/v1/meetings/{sid}/claims/{customer_id}" and method == "GET":
        product.slug("scoped", "held")
    answer = product.api(method, path.format(**names), key=keys[kind], json=row.body)
    if row.who[kind] == "in":
        name = answer.json().get("type", "") if "problem" in answer.headers["content-type"] else ""
        assert name not in ("/problems/unauthorized", "/problems/forbidden"), answer.text
        assert answer.status_code < 500
    else:
        assert answer.status_code == row.who[kind], answer.text


def test_a_limited_key_sees_its_own_meetings_only(product: Product, names: dict[str, str]) -> None:
    """A list of meetings holds no other's, and the own one can be used."""
    product.put("its-own", min_fresh=2, cover_seconds=0)
    key = product.new_key("--scope", "admin", "--meeting", "its-own")
    listed = product.api("GET", "/v1/meetings", key=key).json()["meetings"]
    assert [meeting["sid"] for meeting in listed] == ["its-own"]
    assert product.claim("its-own", "x", key=key).status_code == 201
    assert product.api("GET", f"/v1/links/{names['slug']}", key=key).status_code == 403


def test_pages_for_people_need_no_key_to_sign_in(product: Product) -> None:
    """/docs and /ops answer; /ops shows pools only after signing in, and out again not."""
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
    assert "<code>demo</code>" in shown
    assert "scoped" not in shown
    assert reader not in shown
    product.command("keys", "revoke", reader[3:11])
