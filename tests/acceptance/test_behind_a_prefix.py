"""Test that behind a proxy, below a prefix, no page and no answer leads out of it.

Another API serves the shared product's pools with LINKPOOL_ROOT_PATH, behind a real nginx that
takes the prefix off at one port and leaves it at another.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from product import LINKPOOL, Product, signed, wait_until

from pool.up import ports
from tests.debian import debian
from tests.ending import end_all

ROOT = "/linkpool"
SID = "prefixed"
_NGINX = """
daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{
    listen 127.0.0.1:{strips};
    location /linkpool/ {{ proxy_pass http://127.0.0.1:{api}/; proxy_set_header Host $http_host; }}
  }}
  server {{
    listen 127.0.0.1:{leaves};
    location /linkpool/ {{ proxy_pass http://127.0.0.1:{api}; proxy_set_header Host $http_host; }}
  }}
}}
"""
_ADDRESSES = re.compile(r'\b(href|src|action|data-stream)="([^"]*)"')
_FORMS = re.compile(r'<form method="post" action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


class Prefixed:
    """The API below the prefix: its own port, and nginx's two."""

    def __init__(self, api: int, strips: int, leaves: int) -> None:
        self.api = f"http://127.0.0.1:{api}"
        self.proxies = {
            "strips": f"http://127.0.0.1:{strips}",
            "leaves": f"http://127.0.0.1:{leaves}",
        }


@pytest.fixture(scope="module")
def prefixed(shared: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefixed]:
    """Start the other API and nginx, with content on every page."""
    nginx = debian("nginx")
    directory = tmp_path_factory.mktemp("prefix")
    api, strips, leaves = ports.choose(), ports.choose(), ports.choose()
    known = {"directory": directory, "api": api, "strips": strips, "leaves": leaves}
    (directory / "nginx.conf").write_text(_NGINX.format(**known))
    environ = shared.environ | shared.environment()
    environ |= {"LINKPOOL_ROOT_PATH": f"{ROOT}/", "LINKPOOL_PORT": str(api)}
    with (directory / "log").open("wb") as log:
        running = [
            subprocess.Popen([*LINKPOOL, "api"], env=environ, cwd=directory, stderr=log),
            subprocess.Popen(
                [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")], stderr=log
            ),
        ]
    try:
        for port in (api, strips, leaves):
            wait_until(lambda port=port: not ports.is_free(port), what=f"port {port} is taken")
        ready = f"http://127.0.0.1:{api}/readyz"
        wait_until(lambda: httpx.get(ready, trust_env=False, timeout=60).is_success)
        _furnish(shared)
        yield Prefixed(api, strips, leaves)
    finally:
        end_all((process, directory / "log") for process in running)


def _furnish(product: Product) -> None:
    """Make a claim, a public key, an API key and an event that matches nothing."""
    product.put(SID, min_fresh=5, cover_seconds=0)
    product.slug(SID, "ann")
    made = product.api(
        "POST",
        f"/v1/meetings/{SID}/public-keys",
        json={"label": "page", "origins": ["https://a.example"]},
    )
    assert made.status_code == 201, made.text
    assert product.command("keys", "create", "--scope", "read").returncode == 0
    body = json.dumps(
        {"event": "booking_created", "booking": {"sid": "bk-prefix", "meeting": {"sid": SID}}}
    ).encode()
    answer = product.api(
        "POST", "/v1/webhooks/default", key="", content=body, headers=signed(product, body)
    )
    assert answer.status_code == 202, answer.text


@pytest.fixture(params=["strips", "leaves"])
def visitor(request: pytest.FixtureRequest, prefixed: Prefixed) -> Iterator[httpx.Client]:
    """Return a client of one of the two proxies that follows no redirect."""
    with httpx.Client(
        base_url=prefixed.proxies[request.param], timeout=60, trust_env=False
    ) as client:
        yield client


def slug_of(product: Product) -> str:
    """Return the customer's link, once the ledger has recorded it."""
    slug = product.slug(SID, "ann")
    wait_until(lambda: product.link(slug).get("customer_id"), what="the claim is recorded")
    return slug


def within(address: str) -> str:
    """Check that an address is within the prefix, and return it."""
    parts = urlsplit(address)
    assert not parts.netloc, address
    assert parts.path.startswith(f"{ROOT}/"), address
    return address


def sign_in(visitor: httpx.Client, key: str, **headers: str) -> httpx.Response:
    """Sign in like a visitor who opens a page and is asked for a key first."""
    first = visitor.get(f"{ROOT}/ops/find", headers=headers)
    assert first.status_code == 303
    form = visitor.get(within(first.headers["location"]), headers=headers)
    [(action, fields)] = _FORMS.findall(form.text)
    hidden = {name: html.unescape(value) for name, value in _HIDDEN.findall(fields)}
    answer = visitor.post(within(action), data=hidden | {"key": key}, headers=headers)
    assert answer.status_code == 303, answer.text
    assert within(answer.headers["location"]) == f"{ROOT}/ops/find"
    return answer


def test_no_link_of_any_page_leaves_the_prefix(visitor: httpx.Client, shared: Product) -> None:
    """Starting from four pages, every address that they lead to works and is within the prefix."""
    answer = sign_in(visitor, shared.key)
    assert f"Path={ROOT}/ops" in answer.headers["set-cookie"]
    to_do = [f"{ROOT}{place}" for place in ("/ops", "/demo", "/docs", "/problems")]
    form = dict(_HIDDEN.findall(visitor.get(f"{ROOT}/ops/find").text))
    found = visitor.post(f"{ROOT}/ops/find", data=form | {"asked": slug_of(shared)}).text
    to_do += [each for _, each in _ADDRESSES.findall(found) if "/ops/links/" in each]
    seen: set[str] = set()
    kinds: set[str] = set()
    while to_do:
        address = to_do.pop()
        path = urlsplit(address).path
        kind = re.sub(r"/(inbox|keys|links|meetings)/[^/]+", r"/\1/*", path)
        # One meeting, link and event stand for all: the product has some of every test.
        if address in seen or (kind in kinds and SID not in path):
            continue
        seen.add(address)
        kinds.add(kind)
        if path.endswith("/stream"):
            with visitor.stream("GET", address) as stream:
                text = json.loads(next(stream.iter_lines()).removeprefix("data: "))
            page = " ".join([*text["parts"].values(), *text["rows"].values()])
        else:
            answer = visitor.get(address)
            assert answer.status_code == 200, (address, answer.status_code, answer.text)
            page = answer.text if "html" in answer.headers["content-type"] else ""
        for attribute, found in _ADDRESSES.findall(page):
            target = within(urljoin(address, html.unescape(found)).partition("#")[0])
            if attribute != "action":
                to_do.append(target)
    walked = {urlsplit(each).path.removeprefix(ROOT) for each in seen}
    assert {
        "/ops", "/ops/stream", "/ops/find", "/ops/inbox", "/ops/audit", "/ops/keys", "/demo",
        f"/ops/meetings/{SID}", f"/ops/meetings/{SID}/drain", "/embed.js", "/openapi.json",
        "/problems/pool-empty",
    } <= walked  # fmt: skip
    assert any(each.startswith("/ops/links/") for each in walked)
    assert any(each.startswith("/ops/inbox/") for each in walked)
    assert any(each.endswith("/charts.js") for each in walked)


def test_every_form_of_a_meeting_leads_back_into_the_prefix(
    visitor: httpx.Client, shared: Product
) -> None:
    """Each form's answer stays within the prefix, the demo's forms and signing out included."""
    sign_in(visitor, shared.key)
    sent = 0
    for place in (f"/ops/meetings/{SID}", f"/ops/meetings/{SID}/drain", "/ops/find", "/demo"):
        for action, fields in _FORMS.findall(visitor.get(ROOT + place).text):
            if "/sign-out" in action:
                continue
            # Without a reason nothing is done, and a redirect leads to the page that says so.
            answer = visitor.post(within(action), data=dict(_HIDDEN.findall(fields)))
            sent += 1
            if answer.status_code == 303 and "/demo/link" not in action:
                assert visitor.get(within(answer.headers["location"])).status_code == 200
            else:
                assert answer.status_code in (200, 303), (action, answer.text)
    assert sent > 8
    page = visitor.get(f"{ROOT}/ops").text
    [fields] = [fields for action, fields in _FORMS.findall(page) if action.endswith("/sign-out")]
    answer = visitor.post(f"{ROOT}/ops/sign-out", data=dict(_HIDDEN.findall(fields)))
    assert within(answer.headers["location"]) == f"{ROOT}/ops/sign-in"
    assert f"Path={ROOT}/ops" in answer.headers["set-cookie"]


def test_over_https_the_cookie_stays_within_the_prefix(
    visitor: httpx.Client, shared: Product
) -> None:
    """The cookie is sent over HTTPS only, and not to anything else that the host serves."""
    answer = sign_in(visitor, shared.key, **{"x-forwarded-proto": "https"})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Secure-linkpool_ops=")
    assert f"Path={ROOT}/ops" in cookie
    assert "Secure" in cookie.split("; ")


def test_claims_and_problems_work_within_the_prefix(visitor: httpx.Client, shared: Product) -> None:
    """Claims work, with a head known or new, and the type of a problem is a page in the prefix."""
    address = f"{ROOT}/v1/meetings/{SID}/claims"

    def claim(key: str) -> httpx.Response:
        return visitor.post(address, json={"customer_id": "ann"}, headers={"X-API-Key": key})

    assert [claim(shared.key).status_code for _ in range(3)] == [200, 200, 200]
    refused: dict[str, Any] = claim("lp_00000000_wrong").json()
    assert refused["instance"] == address
    assert visitor.get(within(refused["type"])).status_code == 200
    lost = visitor.get(f"{ROOT}/v1/links/none", headers={"X-API-Key": shared.key}).json()
    assert (lost["type"], lost["instance"]) == (
        f"{ROOT}/problems/unknown-link", f"{ROOT}/v1/links/none",
    )  # fmt: skip
    document = visitor.get(f"{ROOT}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]


def test_probes_ask_without_the_prefix(prefixed: Prefixed) -> None:
    """Probes are answered without it, and a path that merely begins like it is not within it."""
    with httpx.Client(base_url=prefixed.api, timeout=60, trust_env=False) as direct:
        for path in ("/livez", "/readyz", "/metrics", f"{ROOT}/livez"):
            assert direct.get(path).status_code == 200, path
        assert direct.get(ROOT).status_code == direct.get("/").status_code
        assert direct.get(f"{ROOT}livez").status_code == 404
