"""Test embed code and batches over HTTP, against the whole product."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from product import Product, wait_until
from test_round_trip import book, until_state

NewMeeting = Callable[..., str]

TYPES = {"inline": "inline", "element-click": "elementClick", "floating-popup": "floatingPopup"}


@pytest.mark.parametrize("kind", TYPES)
def test_the_code_comes_with_the_claim_and_again(product: Product, sid: str, kind: str) -> None:
    """A new claim, a repeated one, a lookup and the link itself show the same code."""
    claims = f"/v1/meetings/{sid}/claims"
    first = product.api("POST", f"{claims}?embed={kind}", json={"customer_id": "zoe"})
    assert first.status_code == 201, first.text
    assert first.headers["cache-control"] == "no-store"
    body = first.json()
    slug = body["claim"]["slug"]
    assert slug in body["embed_html"]
    assert body["embed"]["type"] == TYPES[kind]
    assert f"{product.sandbox_url}/javascript/embed.js" in body["embed_html"]
    assert body["embed"]["queryParams"]["ref"] == slug

    again = product.api("POST", f"{claims}?embed={kind}", json={"customer_id": "zoe"})
    assert (again.status_code, again.json()) == (200, body | {"reused": True})
    kept = product.api("GET", f"{claims}/zoe?embed={kind}")
    assert kept.json()["embed_html"] == body["embed_html"]
    link = product.api("GET", f"/v1/links/{slug}/embed?type={kind}")
    assert link.headers["content-type"] == "text/html; charset=utf-8"
    assert link.text == body["embed_html"]
    described = product.api("GET", f"/v1/links/{slug}/embed?type={kind}&format=json").json()
    assert described == {
        "slug": slug,
        "state": "claimed",
        "embed": body["embed"],
        "embed_html": body["embed_html"],
    }
    plain = product.claim(sid, "zoe").json()
    assert "embed_html" not in plain
    assert plain["claim"] == body["claim"]


def test_options_and_prefill_stand_in_the_code_and_nowhere_else(product: Product, sid: str) -> None:
    """Prefilled values are in the answer, and neither in the ledger, in Redis nor in a log."""
    answer = product.api(
        "POST",
        f"/v1/meetings/{sid}/claims?embed=element-click",
        json={
            "customer_id": "zoe",
            "prefill": {"name": "Zoe Unrepeatable", "email": "unrepeatable@example.com"},
            "nonce": "bm9uY2U=",
            "button_text": "Talk to us",
            "styles": {"height": "700px"},
            "is_sidebar_and_cover_img_hidden": True,
        },
    )
    body = answer.json()
    assert answer.status_code == 201, answer.text
    assert body["embed"]["queryParams"]["name"] == "Zoe Unrepeatable"
    assert body["embed"]["styles"] == {"height": "700px"}
    assert body["embed"]["isSidebarAndCoverImgHidden"] is True
    assert "<bdi>Talk to us</bdi>" in body["embed_html"]
    assert body["embed_html"].count('nonce="bm9uY2U="') == 2
    slug = body["claim"]["slug"]
    wait_until(lambda: product.link(slug).get("state") == "claimed")
    kept = {file: file.read_bytes() for file in product.directory.rglob("*") if file.is_file()}
    assert any(slug.encode() in content for content in kept.values()), "what is kept is found"
    assert [file for file, content in kept.items() if b"nrepeatable" in content] == []


@pytest.mark.parametrize(
    ("query", "body", "named"),
    [
        ("embed=popup", {}, "embed: must be one of inline, element-click, floating-popup"),
        ("embed=", {}, "embed: must be one of inline, element-click, floating-popup"),
        ("embed=inline&embed=inline", {}, "embed: must be one of"),
        ("embed=inline", {"nonce": '"><script>'}, "nonce:"),
        ("embed=inline", {"prefill": {"ref": "one-off-other"}}, "prefill: ref"),
        ("embed=inline", {"prefill": {"name": 7}}, "Expected `str`"),
        ("embed=inline", {"colour": "red"}, "unknown field `colour`"),
        ("", {"prefill": {"name": "Zoe"}}, "unknown field `prefill`"),
        ("other=1", {"prefill": {"name": "Zoe"}}, "unknown field `prefill`"),
    ],
)
def test_a_wrong_option_costs_no_link(
    product: Product, sid: str, query: str, body: dict[str, object], named: str
) -> None:
    """The answer names the wrong option, and the customer holds nothing afterwards."""
    answer = product.api(
        "POST", f"/v1/meetings/{sid}/claims?{query}", json={"customer_id": "zoe", **body}
    )
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in " ".join(answer.json()["errors"])
    assert product.api("GET", f"/v1/meetings/{sid}/claims/zoe").status_code == 404


def test_a_wrong_option_of_a_link_is_named(product: Product, sid: str) -> None:
    """An unknown type or format is answered with the possible choices."""
    slug = product.slug(sid, "zoe")
    for query, choices in (("type=popup", "floating-popup"), ("format=xml", "json")):
        answer = product.api("GET", f"/v1/links/{slug}/embed?{query}")
        assert answer.status_code == 422
        assert choices in answer.json()["errors"][0]


def test_only_a_link_that_somebody_holds_has_code(product: Product, sid: str) -> None:
    """An unknown slug and a fresh link are answered 404, and a key sees its own meetings only."""
    fresh = next(
        slug for slug in product.sandbox_links(sid) if product.link(slug).get("state") == "fresh"
    )
    for slug, name in (("one-off-unknown", "unknown-link"), (fresh, "unknown-claim")):
        answer = product.api("GET", f"/v1/links/{slug}/embed")
        assert (answer.status_code, answer.json()["type"]) == (404, f"/problems/{name}")
    assert product.api("GET", f"/v1/links/{fresh}/embed", key="").status_code == 401


def test_who_has_booked_is_shown_that(product: Product, new_meeting: NewMeeting) -> None:
    """The claim and the link of a booked customer show the booking; a replaced link's customer gets
    code.
    """
    sid = new_meeting()
    claim = product.api(
        "POST", f"/v1/meetings/{sid}/claims?embed=inline", json={"customer_id": "zoe"}
    ).json()
    book(product, claim)
    until_state(product, sid, "zoe", "consumed")
    again = product.api(
        "POST", f"/v1/meetings/{sid}/claims?embed=inline", json={"customer_id": "zoe"}
    ).json()
    assert again["claim"]["state"] == "consumed"
    assert again["embed_html"].startswith(
        '<div class="linkpool-booked"><p>You are booked for <time'
    )
    assert "<script" not in again["embed_html"]
    slug = claim["claim"]["slug"]
    assert product.api("GET", f"/v1/links/{slug}/embed").text == again["embed_html"]

    old = product.slug(sid, "max")
    replaced = product.api(
        "POST",
        f"/v1/meetings/{sid}/claims/max/replace?embed=floating-popup",
        json={"reason": "it was burnt", "slug": old},
    ).json()
    assert replaced["claim"]["slug"] in replaced["embed_html"]
    assert old not in replaced["embed_html"]


def test_the_command_prints_the_same_code(product: Product, sid: str) -> None:
    """It prints text for a page, or the argument as JSON, and takes prefilled values."""
    slug = product.slug(sid, "zoe")
    link = product.api("GET", f"/v1/links/{slug}/embed?type=element-click").text
    assert product.command("embed", slug, "--type", "element-click").stdout == f"{link}\n"
    said = product.command("embed", slug, "--prefill", "name=Zoë=<b>", "--json").stdout
    found = json.loads(said)
    assert (found["slug"], found["state"]) == (slug, "claimed")
    assert found["embed"]["queryParams"]["name"] == "Zoë=<b>"
    wrong = product.command("embed", slug, "--type", "popup")
    assert wrong.returncode == 2
    assert "inline, element-click, floating-popup" in wrong.stderr
    unknown = product.command("embed", "one-off-unknown")
    assert (unknown.returncode, unknown.stdout) == (4, "")
    assert "no link with this slug" in unknown.stderr


def test_the_documented_calls_work_as_they_stand(product: Product) -> None:
    """They are pasted into a shell with the address and the key of a running linkpool."""
    text = (Path(__file__).parents[2] / "docs" / "embeds.md").read_text("utf-8")
    commands = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command, part in zip(commands, ("embed_html", "results"), strict=True):
        done = subprocess.run(
            ["bash", "-c", command],
            env=os.environ | {"API": product.url, "KEY": product.key},
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert part in json.loads(done.stdout), done.stdout


# -- batches


def batch(product: Product, sid: str, claims: object, **more: str) -> list[dict[str, object]]:
    """Claim for several customers. Return the results."""
    answer = product.api(
        "POST", f"/v1/meetings/{sid}/claims:batch", json={"claims": claims}, **more
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    results: list[dict[str, object]] = answer.json()["results"]
    return results


def test_a_batch_is_one_claim_for_each(product: Product, new_meeting: NewMeeting) -> None:
    """Results stand in order, each equals the answer to a claim of its own, and repeats change
    none.
    """
    sid = new_meeting(min_fresh=300, max_fresh=400)
    customers = [f"customer-{number}" for number in range(250)]
    claims = [{"customer_id": each} for each in customers]
    first = batch(product, sid, claims)
    assert [each["customer_id"] for each in first] == customers
    assert {each["status"] for each in first} == {201}
    slugs = [each["claim"]["slug"] for each in first]  # type: ignore[index]
    assert len(set(slugs)) == len(customers)
    again = batch(product, sid, claims)
    assert again == [each | {"status": 200} for each in first]
    assert product.claim(sid, "customer-7").json()["claim"] == first[7]["claim"]
    assert batch(product, sid, []) == []


def test_a_batch_has_errors_beside_links(product: Product, sid: str) -> None:
    """An error concerns its own customer alone, and a customer who stands twice has one link."""
    results = batch(
        product,
        sid,
        [
            {"customer_id": "zoe", "email": "zoe@example.com", "metadata": {"plan": "a"}},
            {"customer_id": "a\u0000b"},
            {"customer_id": "zoe"},
            {"customer_id": "max", "colour": "red"},
            {"email": "nobody@example.com"},
            7,
            {"customer_id": "max", "email": "nobody"},
            {"customer_id": "max"},
        ],
    )
    assert [each["status"] for each in results] == [201, 422, 200, 422, 422, 400, 422, 201]
    assert [each["customer_id"] for each in results] == [
        "zoe", "a\u0000b", "zoe", "max", None, None, "max", "max",
    ]  # fmt: skip
    assert results[0]["claim"] == results[2]["claim"]
    problems = [each["problem"]["type"] for each in results if "problem" in each]  # type: ignore[index]
    assert problems == [
        "/problems/invalid-customer-id",
        "/problems/invalid-request",
        "/problems/invalid-request",
        "/problems/malformed-json",
        "/problems/invalid-request",
    ]
    slug = results[0]["claim"]["slug"]  # type: ignore[index]
    wait_until(lambda: product.link(slug).get("email") == "zoe@example.com")
    assert product.link(slug)["metadata"] == {"plan": "a"}


def test_a_batch_at_an_empty_pool_says_so_for_each(
    product: Product, new_meeting: NewMeeting
) -> None:
    """Customers who hold a link get it, and the others learn without a long wait when to come
    back.
    """
    sid = new_meeting(min_fresh=3, max_fresh=3, on_empty="fail", fallback_url="https://a.example/b")
    held = product.slug(sid, "held")
    many = [{"customer_id": f"new-{number}"} for number in range(400)]
    results = batch(product, sid, [*many, {"customer_id": "held"}])
    assert results[-1]["status"] == 200
    assert results[-1]["claim"]["slug"] == held  # type: ignore[index]
    refused = [each["problem"] for each in results if each["status"] == 503]
    assert len(refused) >= 100  # top-up may have filled in a few
    assert {each["type"] for each in refused} == {"/problems/pool-empty"}  # type: ignore[index]
    for each in refused:
        assert each["retry_after_seconds"] >= 1  # type: ignore[index]
        assert each["fallback_url"] == "https://a.example/b"  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"[]", 400, "malformed-json"),
        (b'{"claims": [', 400, "malformed-json"),
        (b'{"claims": 7}', 422, "invalid-request"),
        (b"{}", 422, "invalid-request"),
        (b'{"claims": [], "embed": "inline"}', 422, "invalid-request"),
        (json.dumps({"claims": [{}] * 1001}).encode(), 422, "invalid-request"),
        (b'{"claims": [' + b" " * 4 * 1024 * 1024 + b"]}", 413, "too-large"),
    ],
    ids=["list", "half", "number", "nothing", "unknown", "many", "large"],
)
def test_a_batch_that_is_none_is_refused(
    product: Product, sid: str, body: bytes, status: int, name: str
) -> None:
    """A malformed batch is refused as a whole, with what is wrong."""
    answer = product.api("POST", f"/v1/meetings/{sid}/claims:batch", content=body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{name}")


def test_a_large_batch_is_taken(product: Product, sid: str) -> None:
    """A thousand customers with all the data that may be kept of each fit into one body."""
    metadata = {"note": "x" * 2000}
    claims = [
        {"customer_id": f"{number}-".ljust(256, "x"), "email": "a@b.example", "metadata": metadata}
        for number in range(1000)
    ]
    product.api("POST", f"/v1/meetings/{sid}/pause", json={"reason": "a test"})
    results = batch(product, sid, claims)
    assert [each["status"] for each in results] == [503] * 1000


def test_a_batch_needs_the_scope_and_the_meeting(product: Product, sid: str) -> None:
    """A key of another scope, no key, and an unknown meeting are refused as with one claim."""
    address = f"/v1/meetings/{sid}/claims:batch"
    body = {"claims": [{"customer_id": "zoe"}]}
    assert product.api("POST", address, json=body, key="").status_code == 401
    unknown = product.api("POST", "/v1/meetings/nowhere/claims:batch", json=body)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-meeting")
