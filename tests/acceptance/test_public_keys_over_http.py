"""Test claims that pages without a backend make with public keys, over HTTP and in every API
process.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from product import wait_until

from pool.access.public_keys import issue_public_key
from pool.compose import Parts
from pool.model.meetings import Meeting
from tests.trials.harness.stage import Stage

ADMIN_KEY = "the admin key of the tests of public keys"
PATH = "/v1/embed/claims"
SITE, SHOP = "https://www.example.com", "https://shop.example.com"
PER_ADDRESS, PER_MEETING = 5, 250
LINKS, RESERVE = 60, 20
_address = itertools.count(1)


@dataclass(frozen=True)
class Pages:
    """The pages of a site that has no backend."""

    stage: Stage
    http: httpx.Client
    keys: dict[str, str]  # the public key of each meeting

    def url(self, path: str = PATH, server: int = 0) -> str:
        return f"http://127.0.0.1:{self.stage.server_ports[server]}{path}"

    def claim(
        self,
        sid: str,
        visitor: str | None = None,
        *,
        server: int = 0,
        address: str = "",
        origin: str | None = SITE,
        key: str = "",
    ) -> httpx.Response:
        """Claim from a page, by default at an address that was not used before."""
        body = {"public_key": key or self.keys[sid]} | ({"visitor": visitor} if visitor else {})
        headers = {"X-Forwarded-For": address or new_address()}
        headers |= {"Origin": origin} if origin is not None else {}
        return self.http.post(self.url(server=server), json=body, headers=headers)

    def admin(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.http.request(method, self.url(path), headers={"X-API-Key": ADMIN_KEY}, **more)


def new_address() -> str:
    return f"198.18.{next(_address) // 250}.{next(_address) % 250}"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Start two API servers behind a proxy on this machine, and no worker."""
    with Stage(
        proxied=False,
        ADMIN_KEY=ADMIN_KEY,
        PUBLIC_CLAIMS_PER_MINUTE_PER_ADDRESS=str(PER_ADDRESS),
        PUBLIC_CLAIMS_PER_MINUTE_PER_MEETING=str(PER_MEETING),
        LOG_LEVEL="info",
    ) as stage:
        stage.start_servers(2)
        yield stage


@pytest.fixture(scope="module")
def pages(stage: Stage) -> Iterator[Pages]:
    """Return pages with a public key for each meeting, once every server knows them."""
    sids = ("demo", "other", "alone", "beside", "crowded")
    for sid in sids:
        # One that would make links on the spot, if it could.
        stage.open(Meeting(sid, min_fresh=0, max_fresh=1, reserve=RESERVE), links=LINKS)

    async def make(parts: Parts) -> dict[str, str]:
        made = {}
        for sid in sids:
            origins = [SITE, SHOP] if sid == "demo" else [SITE]
            made[sid] = (await issue_public_key(parts.ledger, sid, origins, "", "tests")).id
        return made

    keys = stage.work(make)
    with httpx.Client(timeout=20, trust_env=False) as http:
        pages = Pages(stage, http, keys)
        for server, sid in itertools.product((0, 1), sids):
            wait_until(
                lambda n=server, s=sid: pages.claim(s, server=n, origin=None).status_code == 403
            )
        yield pages


def check(answer: httpx.Response, status: int, name: str) -> None:
    """Check that an answer is this problem, and that a page may read it."""
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"/problems/{name}"
    assert answer.headers["access-control-allow-origin"] == answer.request.headers["origin"]


def test_a_visitor_keeps_their_link(pages: Pages) -> None:
    """The id from the first answer identifies the visitor in every process and at every address."""
    first = pages.claim("demo")
    assert first.status_code == 201
    answer = first.json()
    assert set(answer) == {"state", "url", "embed", "script", "visitor"}
    assert first.headers["access-control-allow-origin"] == SITE
    again = pages.claim("demo", answer["visitor"], server=1)
    assert again.status_code == 200
    assert again.json() == answer
    other = pages.claim("demo")
    assert other.status_code == 201
    assert other.json()["url"] != answer["url"]
    assert other.json()["visitor"] != answer["visitor"]


def test_each_page_of_the_list_may_claim(pages: Pages) -> None:
    """Two origins use one key, each is answered with its own, and the visitor is the same."""
    first = pages.claim("demo", origin=SHOP)
    assert first.headers["access-control-allow-origin"] == SHOP
    again = pages.claim("demo", first.json()["visitor"], origin=SITE)
    assert again.json()["url"] == first.json()["url"]


@pytest.mark.parametrize("visitor", ["x", "A" * 22 + "." + "A" * 22, "visitor:me"])
def test_a_forged_visitor_is_a_new_one(pages: Pages, visitor: str) -> None:
    answer = pages.claim("demo", visitor)
    assert answer.status_code == 201
    assert answer.json()["visitor"] != visitor


def test_a_visitor_of_another_key_is_a_new_one(pages: Pages) -> None:
    there = pages.claim("demo").json()["visitor"]
    here = pages.claim("other", there)
    assert here.status_code == 201
    assert here.json()["visitor"] != there


def test_other_pages_are_refused(pages: Pages) -> None:
    """Another origin, a missing origin and an unknown key are refused."""
    for origin in ("https://evil.example", "http://www.example.com", SHOP, "null"):
        check(pages.claim("other", origin=origin), 403, "origin-not-allowed")
    without = pages.claim("other", origin=None)
    assert without.status_code == 403
    check(pages.claim("other", key="pk_" + "0" * 24), 401, "invalid-public-key")
    check(pages.claim("other", key=ADMIN_KEY), 401, "invalid-public-key")


def test_a_body_has_one_proof(pages: Pages) -> None:
    key = pages.keys["demo"]
    for body in (
        {"public_key": key, "token": "x"},
        {"token": "x", "visitor": "y"},
        {"public_key": key, "customer_id": "ann"},
        {"public_key": None},
        {"public_key": "x" * 65},
        {"public_key": key, "visitor": "x" * 257},
    ):
        answer = pages.http.post(pages.url(), json=body, headers={"Origin": SITE})
        check(answer, 422, "invalid-request")


def test_a_public_key_is_no_key(pages: Pages) -> None:
    headers = {"X-API-Key": pages.keys["demo"]}
    for method, path in (("POST", "/v1/meetings/demo/claims"), ("GET", "/v1/meetings")):
        assert pages.http.request(method, pages.url(path), headers=headers).status_code == 401


def test_an_address_gets_so_many_links_a_minute(pages: Pages) -> None:
    """Beyond the limit new visitors there wait; customers who hold a link and other addresses do
    not.

    All addresses of one IPv6 network of 64 bits count together.
    """
    first, *rest = [
        pages.claim("other", address=f"2001:db8::{number:x}", server=number % 2)
        for number in range(PER_ADDRESS)
    ]
    assert {each.status_code for each in (first, *rest)} == {201}
    refused = pages.claim("other", address="2001:db8::ffff")
    check(refused, 429, "rate-limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert pages.claim("other", first.json()["visitor"], address="2001:db8::1").status_code == 200
    assert pages.claim("other", address="2001:db8:0:1::1").status_code == 201


async def _storm(
    pages: Pages, sid: str, public: int, keyed: int
) -> tuple[Counter[int], Counter[int]]:
    """Claim with both kinds of keys at once on both servers. Return the statuses of each kind."""
    limits = httpx.Limits(max_connections=60)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as http:

        async def one(number: int) -> int:
            answer = await http.post(
                pages.url(server=number % 2),
                json={"public_key": pages.keys[sid]},
                headers={"Origin": SITE, "X-Forwarded-For": new_address()},
            )
            return answer.status_code

        async def other(number: int) -> int:
            answer = await http.post(
                pages.url(f"/v1/meetings/{sid}/claims", server=number % 2),
                json={"customer_id": f"keyed-{number}"},
                headers={"X-API-Key": pages.stage.key},
            )
            return answer.status_code

        both = [one(number) for number in range(public)]
        for number in range(keyed):
            both.insert(number * 10, other(number))
        flags = [each.__name__ == "one" for each in both]
        statuses = await asyncio.gather(*both)
    found: tuple[Counter[int], Counter[int]] = Counter(), Counter()
    for is_public, status in zip(flags, statuses, strict=True):
        found[0 if is_public else 1][status] += 1
    return found


def test_two_hundred_visitors_at_once_leave_the_reserve(pages: Pages) -> None:
    """Exactly the links above the reserve are handed out, and none is made on the spot."""
    public, _ = asyncio.run(_storm(pages, "alone", 200, 0))
    assert public == {201: LINKS - RESERVE, 503: 200 - (LINKS - RESERVE)}
    assert pages.stage.level("alone") == RESERVE
    refused = pages.claim("alone")
    check(refused, 503, "pool-empty")
    assert "retry-after" in refused.headers


def test_keyed_claims_beside_them_all_get_a_link(pages: Pages) -> None:
    """Claims with an API key alone may use the reserve."""
    public, keyed = asyncio.run(_storm(pages, "beside", 200, 15))
    assert keyed == {201: 15}
    assert public[201] + public[503] == 200
    assert LINKS - RESERVE - 15 <= public[201] <= LINKS - RESERVE
    assert pages.stage.level("beside") == LINKS - 15 - public[201]


def test_a_meeting_gives_so_many_links_a_minute(pages: Pages) -> None:
    """Claims from all addresses and in all processes count together."""
    pages.stage.stock("crowded", 2 * PER_MEETING)
    answers = [pages.claim("crowded", server=each % 2) for each in range(PER_MEETING + 1)]
    assert [each.status_code for each in answers[:-1]] == [201] * PER_MEETING
    # The allowance grows again while the test runs.
    refused = next(
        each
        for each in itertools.chain(
            answers[-1:], (pages.claim("crowded", server=each % 2) for each in range(PER_MEETING))
        )
        if each.status_code != 201
    )
    check(refused, 429, "rate-limited")
    assert pages.claim("crowded", answers[0].json()["visitor"], server=1).status_code == 200


def test_operators_make_and_revoke_public_keys(pages: Pages) -> None:
    """A key that is revoked over HTTP is refused in every process and stays in the list."""
    path = "/v1/meetings/demo/public-keys"
    made = pages.admin("POST", path, json={"origins": [SITE], "label": "landing page"})
    assert made.status_code == 201
    key = made.json()["public_key"]
    assert (key["meeting_sid"], key["origins"], key["label"]) == ("demo", [SITE], "landing page")
    for server in (0, 1):
        wait_until(lambda n=server: pages.claim("demo", key=key["id"], server=n).status_code == 201)
    listed = pages.admin("GET", path).json()["public_keys"]
    assert {each["id"] for each in listed} == {pages.keys["demo"], key["id"]}
    assert pages.admin("DELETE", f"/v1/meetings/other/public-keys/{key['id']}").status_code == 404
    assert pages.admin("DELETE", f"{path}/{key['id']}").status_code == 204
    for server in (0, 1):
        wait_until(lambda n=server: pages.claim("demo", key=key["id"], server=n).status_code == 401)
    assert pages.admin("DELETE", f"{path}/{key['id']}").status_code == 404
    for origins in ([], ["*"], ["https://www.example.com/"], "https://www.example.com", [7]):
        assert pages.admin("POST", path, json={"origins": origins}).status_code == 422
    unknown = pages.admin("POST", "/v1/meetings/unknown/public-keys", json={"origins": [SITE]})
    assert unknown.status_code == 404


def test_the_reserve_is_a_setting_of_the_meeting(pages: Pages) -> None:
    """A change shows at once, and the reserve must be below the least stock."""
    path = "/v1/meetings/demo"
    changed = pages.admin("PUT", path, json={"min_fresh": 40, "max_fresh": 100, "reserve": 30})
    assert changed.json()["meeting"]["reserve"] == 30
    assert pages.admin("PUT", path, json={"reserve": 40}).status_code == 422
    assert pages.admin("PUT", path, json={"reserve": -1}).status_code == 422
    assert pages.admin("GET", path).json()["meeting"]["reserve"] == 30


def test_nothing_is_revealed_of_visitors(pages: Pages) -> None:
    """Logs, metrics and the audit log hold neither a visitor's id nor their customer id."""
    visitor = pages.claim("other").json()["visitor"]
    pages.stage.work(lambda parts: parts.recorder.record("other"))
    customers = [row[0] for row in pages.stage.rows("SELECT customer_id FROM links")]
    ours = [each for each in customers if each and each.startswith("visitor:")]
    assert ours
    wait_until(
        lambda: 'failures_total{door="public-key"}' in pages.http.get(pages.url("/metrics")).text
    )
    told = pages.http.get(pages.url("/metrics")).text + str(pages.stage.rows("SELECT * FROM audit"))
    told += "".join(pages.stage.log(f"api-{number}").read_text() for number in (0, 1))
    assert '"route": "/v1/embed/claims"' in told
    for secret in (visitor, *ours):
        assert secret not in told
