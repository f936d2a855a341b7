"""Test claims that pages of other origins make with tokens, over HTTP and in every API process."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from product import wait_until

from pool.access.api_keys import Scope, issue_key, revoke_key
from pool.access.token_secrets import SecretSource, issue_secret, revoke_secret
from pool.compose import Parts
from pool.config.addresses import secret_key
from pool.model.meetings import Meeting
from tests.bad_tokens import BAD_TOKENS, Forge
from tests.trials.harness.stage import Stage

ADMIN_KEY = "the admin key of the tests of tokens"
PATH = "/v1/embed/claims"
SITE = "https://www.example.com"
LIMIT = 30  # new claims of a key in a minute
_serial = itertools.count(1)


class Site:
    """A site: its API key, its token secret, and browsers that visit it."""

    def __init__(self, stage: Stage, http: httpx.Client) -> None:
        self.stage = stage
        self.http = http
        self.secret_id = self.key_id = ""
        self.key, self.forge = "", Forge("", "", 0)

    async def enter(self, parts: Parts, scope: Scope, **limits: Any) -> None:
        """Get a key and a token secret."""
        source, named = SecretSource(secret_key(parts.settings)), frozenset({scope.value})
        meetings = limits.pop("meetings", None)
        self.key, kept = await issue_key(parts.ledger, named, meetings, "site", "tests", **limits)
        text, secret = await issue_secret(parts.ledger, source, kept.id, "tests")
        self.key_id, self.secret_id = kept.id, secret.id
        self.forge = Forge(kept.id, text, int(time.time()))

    def token(self, customer: str = "", **claims: Any) -> str:
        named = {"customer_id": customer or f"visitor-{next(_serial)}"}
        return self.forge.good(**{"exp": int(time.time()) + 600} | named | claims)

    def claims(self, token: str, port: int | None = None, **headers: str) -> httpx.Response:
        """Claim as a page does."""
        url = f"http://127.0.0.1:{port or self.stage.server_ports[0]}{PATH}"
        return self.http.post(url, json={"token": token}, headers={"Origin": SITE} | headers)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Start two API servers on one Redis and one ledger."""
    with Stage(
        proxied=False,
        ADMIN_KEY=ADMIN_KEY,
        NEW_CLAIMS_PER_MINUTE_PER_KEY=str(LIMIT),
        LOG_LEVEL="info",
    ) as stage:
        stage.start_servers(2)
        for sid in ("demo", "other"):
            stage.open(Meeting(sid, min_fresh=0, max_fresh=1, on_empty="fail"), links=60)
        yield stage


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """Return a client that adds nothing to its requests."""
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def sites(stage: Stage, http: httpx.Client) -> dict[str, Site]:
    """Return a site for each kind of key, once every server knows all of them."""
    kinds: dict[str, tuple[Scope, dict[str, Any]]] = {
        "plain": (Scope.CLAIM, {}),
        "rotating": (Scope.CLAIM, {}),
        "crowded": (Scope.CLAIM, {}),
        "reader": (Scope.READ, {}),
        "elsewhere": (Scope.CLAIM, {"meetings": frozenset({"other"})}),
        "bound": (Scope.CLAIM, {"networks": ("203.0.113.0/24",)}),
    }
    made = {kind: Site(stage, http) for kind in kinds}

    async def enter(parts: Parts) -> None:
        for kind, (scope, limits) in kinds.items():
            await made[kind].enter(parts, scope, **limits)

    stage.work(enter)
    for site, port in itertools.product(made.values(), stage.server_ports):
        # A meeting that nobody has: a key is known once its token is not refused as such.
        wait_until(lambda s=site, p=port: s.claims(s.token(meeting="x"), p).status_code != 401)
    return made


@pytest.fixture
def site(sites: dict[str, Site]) -> Site:
    """Return a site whose key may claim."""
    return sites["plain"]


def check(answer: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """Check that an answer is this problem, and that a page may read it. Return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{name}", body
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["access-control-expose-headers"] == "Retry-After"
    assert answer.headers["vary"] == "Origin"
    return body


def test_a_page_claims_with_a_token(stage: Stage, site: Site) -> None:
    """Each claim gets the same link, which is also the one that the site's backend gets for this
    customer.
    """
    token = site.token("ann", email="ann@example.com")
    first, again = site.claims(token), site.claims(token, stage.server_ports[1])
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    answer = first.json()
    assert set(answer) == {"state", "url", "embed", "script"}
    assert answer["state"] == "claimed"
    assert answer["url"].endswith(answer["embed"]["slug"])
    assert answer["embed"]["queryParams"]["ref"] == answer["embed"]["slug"]
    assert answer["script"].endswith("/javascript/embed.js")
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["access-control-allow-origin"] == SITE
    assert "access-control-allow-credentials" not in first.headers
    assert "ann" not in first.text
    url = f"http://127.0.0.1:{stage.server_ports[0]}/v1/meetings/demo/claims"
    keyed = site.http.post(url, json={"customer_id": "ann"}, headers={"X-API-Key": site.key})
    assert keyed.json()["claim"]["slug"] == answer["embed"]["slug"]
    stage.work(lambda parts: parts.recorder.record("demo"))
    assert stage.rows("SELECT email FROM links WHERE customer_id = 'ann'") == [("ann@example.com",)]


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused(site: Site, name: str) -> None:
    """Each row of the table is answered with its problem, in a form that the page may read."""
    make, status = BAD_TOKENS[name]
    fresh = Forge(site.key_id, site.forge.secret, int(time.time()))
    answer = site.claims(make(fresh))
    names = {401: ("invalid-token",), 404: ("unknown-meeting",)}
    kind = answer.json()["type"].removeprefix("/problems/")
    assert kind in names.get(status, ("invalid-request", "invalid-customer-id"))
    check(answer, status, kind)
    assert "visitor-1" not in answer.text


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"{}", 422, "invalid-request"),
        (b'{"token": 7}', 422, "invalid-request"),
        (b'{"token": "x", "customer_id": "ann"}', 422, "invalid-request"),
        (b"[]", 400, "malformed-json"),
        (b"{", 400, "malformed-json"),
        (b'{"token": "%b"}' % (b"x" * 9_000), 413, "too-large"),
    ],
    ids=["nothing", "a number", "a customer", "a list", "no JSON", "9 kB"],
)
def test_a_bad_body_is_refused(
    stage: Stage, http: httpx.Client, body: bytes, status: int, name: str
) -> None:
    url = f"http://127.0.0.1:{stage.server_ports[0]}{PATH}"
    check(http.post(url, content=body, headers={"Origin": SITE}), status, name)


def test_a_token_needs_a_key_with_rights(sites: dict[str, Site]) -> None:
    """The key needs the scope claim for this meeting; its networks apply to the backend alone."""
    reader, elsewhere, bound = sites["reader"], sites["elsewhere"], sites["bound"]
    check(reader.claims(reader.token()), 403, "forbidden")
    check(elsewhere.claims(elsewhere.token()), 403, "forbidden")
    assert elsewhere.claims(elsewhere.token(meeting="other")).status_code == 201
    assert bound.claims(bound.token()).status_code == 201


def test_a_token_opens_nothing_else(stage: Stage, site: Site) -> None:
    """A token is no API key, neither in a header nor on another route."""
    token = site.token()
    base = f"http://127.0.0.1:{stage.server_ports[0]}"
    for method, path in (
        ("POST", "/v1/meetings/demo/claims"),
        ("GET", "/v1/meetings"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/events"),
    ):
        for headers in ({"X-API-Key": token}, {"Authorization": f"Bearer {token}"}):
            assert site.http.request(method, base + path, headers=headers).status_code == 401


def test_a_secret_is_rotated_without_a_gap(stage: Stage, sites: dict[str, Site]) -> None:
    """Both secrets sign until the first is revoked, which every process then refuses for good."""
    rotating = sites["rotating"]
    old = rotating.token()

    async def second(parts: Parts) -> str:
        source = SecretSource(secret_key(parts.settings))
        return (await issue_secret(parts.ledger, source, rotating.key_id, "tests"))[0]

    text = stage.work(second)
    new = Forge(rotating.key_id, text, int(time.time())).good(customer_id="rotated")
    for port in stage.server_ports:
        wait_until(lambda port=port: rotating.claims(new, port).status_code in (200, 201), 10)
        assert rotating.claims(old, port).status_code in (200, 201)
    stage.work(lambda parts: revoke_secret(parts.ledger, rotating.secret_id, "tests"))
    for port in stage.server_ports:
        wait_until(lambda port=port: rotating.claims(old, port).status_code == 401, 10)
        assert rotating.claims(new, port).status_code == 200
    stage.work(lambda parts: revoke_key(parts.ledger, rotating.key_id, "tests"))
    for port in stage.server_ports:
        wait_until(lambda port=port: rotating.claims(new, port).status_code == 401, 10)


def test_the_limits_of_the_key_hold_for_its_tokens(stage: Stage, sites: dict[str, Site]) -> None:
    """New claims beyond the limit wait, while customers who hold a link still get it."""
    crowded = sites["crowded"]
    first = crowded.token(meeting="other")
    answers = [crowded.claims(first)]
    answers += [crowded.claims(crowded.token(meeting="other")) for _ in range(LIMIT)]
    assert [each.status_code for each in answers] == [201] * LIMIT + [429]
    check(answers[-1], 429, "rate-limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert crowded.claims(first).status_code == 200
    url = f"http://127.0.0.1:{stage.server_ports[0]}/v1/meetings/other/claims"
    keyed = {"X-API-Key": crowded.key}
    assert crowded.http.post(url, json={"customer_id": "x"}, headers=keyed).status_code == 429


# -- tokens from the server ------------------------------------------------------------


def ask(
    site: Site, body: dict[str, Any], key: str = "", *, name: str | None = None
) -> httpx.Response:
    """Request a token as a backend does."""
    url = f"http://127.0.0.1:{site.stage.server_ports[0]}/v1/tokens"
    answer = site.http.post(url, json=body, headers={"X-API-Key": key or site.key})
    assert not any(header.startswith("access-control") for header in answer.headers)
    if name is not None:
        assert answer.json()["type"] == f"/problems/{name}", answer.text
    return answer


def test_a_backend_asks_for_a_token(stage: Stage, site: Site) -> None:
    """It uses its own key or the admin key, and every process accepts the token."""
    for key in (site.key, ADMIN_KEY):
        answer = ask(site, {"meeting_sid": "demo", "customer_id": f"asked-{len(key)}"}, key)
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        body = answer.json()
        assert set(body) == {"token", "expires_at"}
        assert body["expires_at"].endswith("Z")
        statuses = [site.claims(body["token"], port).status_code for port in stage.server_ports]
        assert statuses == [201, 200]


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"meeting_sid": "unknown"}, 404, "unknown-meeting"),
        ({"meeting_sid": "../x"}, 404, "unknown-meeting"),
        ({"meeting_sid": 7}, 422, "invalid-request"),
        ({"customer_id": ""}, 422, "invalid-customer-id"),
        ({"customer_id": "x" * 257}, 422, "invalid-customer-id"),
        ({"email": "nobody"}, 422, "invalid-request"),
        ({"expires_in_seconds": 0}, 422, "invalid-request"),
        ({"expires_in_seconds": 24 * 3600 + 1}, 422, "invalid-request"),
        ({"metadata": {}}, 422, "invalid-request"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_wish_for_a_token_is_refused(
    site: Site, changes: dict[str, Any], status: int, name: str
) -> None:
    body = {"meeting_sid": "demo", "customer_id": "ann"} | changes
    assert ask(site, body, name=name).status_code == status


def test_only_keys_that_may_claim_get_tokens(site: Site, sites: dict[str, Site]) -> None:
    body = {"meeting_sid": "demo", "customer_id": "ann"}
    assert ask(site, body, "lp_00000000_x", name="unauthorized").status_code == 401
    for kind in ("reader", "elsewhere", "bound"):
        assert ask(site, body, sites[kind].key, name="forbidden").status_code == 403


# -- what browsers ask first -----------------------------------------------------------


def preflight(site: Site, path: str = PATH, method: str = "POST", **headers: str) -> httpx.Response:
    """Send the preflight request that a browser sends before JSON to another origin."""
    sent = {
        "Origin": SITE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
    } | headers
    url = f"http://127.0.0.1:{site.stage.server_ports[0]}{path}"
    return site.http.request("OPTIONS", url, headers=sent)


@pytest.mark.parametrize("origin", [SITE, "http://localhost:3000", "null", "https://[::1]:8443"])
def test_a_preflight_is_answered_exactly(site: Site, origin: str) -> None:
    """The answer names the very origin, holds for a day, and allows no more than the route
    accepts.
    """
    answer = preflight(site, Origin=origin)
    assert (answer.status_code, answer.content) == (204, b"")
    said = {name: value for name, value in answer.headers.items() if "access-control" in name}
    assert said == {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "Content-Type",
        "access-control-max-age": "86400",
        "access-control-expose-headers": "Retry-After",
    }
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["*", "https://a.example, https://b.example", "x", "https://"])
def test_what_is_no_origin_is_not_repeated(site: Site, origin: str) -> None:
    for answer in (preflight(site, Origin=origin), site.claims(site.token(), Origin=origin)):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/tokens"),
        ("POST", "/v1/meetings/demo/claims"),
        ("GET", "/v1/meetings"),
        ("POST", "/v1/embed/claims/"),
        ("POST", "/v1/webhooks/default"),
        ("POST", "/ops/sign-in"),
        ("GET", "/livez"),
    ],
)
def test_no_other_route_lets_pages_of_other_origins_in(site: Site, method: str, path: str) -> None:
    """Neither a preflight nor an answer on other routes mentions origins."""
    url = f"http://127.0.0.1:{site.stage.server_ports[0]}{path}"
    plain = site.http.request(method, url, headers={"Origin": SITE}, json={})
    asked = preflight(site, path, method)
    assert asked.status_code in (401, 404, 405)
    for answer in (plain, asked):
        assert not any("access-control" in name for name in answer.headers)


def test_other_methods_are_answered_as_elsewhere(site: Site) -> None:
    url = f"http://127.0.0.1:{site.stage.server_ports[0]}{PATH}"
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        answer = site.http.request(method, url, headers={"Origin": SITE})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), method


def test_two_origins_use_one_key(site: Site) -> None:
    """The token is the proof, and each page is answered with its own origin."""
    token = site.token()
    for origin in (SITE, "https://shop.example.com"):
        answer = site.claims(token, Origin=origin)
        assert answer.headers["access-control-allow-origin"] == origin
    assert site.http.post(
        f"http://127.0.0.1:{site.stage.server_ports[0]}{PATH}", json={"token": token}
    ).is_success  # no browser: the token is as good


# -- what is left behind -----------------------------------------------------------------


def test_failures_are_counted_and_reveal_nothing(stage: Stage, site: Site) -> None:
    """Logs, metrics and the audit log hold no token, secret or customer id."""
    customer = "a-customer-nobody-may-read-of"
    good, bad = site.token(customer), site.token(customer, exp=1)
    assert site.claims(good).status_code == 201
    assert site.claims(bad).status_code == 401
    metrics = f"http://127.0.0.1:{stage.server_ports[0]}/metrics"

    def failures() -> bool:
        return 'failures_total{door="token"}' in site.http.get(metrics).text

    wait_until(failures, 10)
    told = site.http.get(metrics).text
    told += "".join(stage.log(f"api-{number}").read_text() for number in (0, 1))
    told += str(stage.rows("SELECT * FROM audit")) + str(stage.rows("SELECT * FROM token_secrets"))
    assert '"route": "/v1/embed/claims"' in told
    for secret in (good, bad, good.split(".")[1], site.forge.secret[13:], customer):
        assert secret not in told


def test_a_stranger_who_guesses_is_paced(site: Site) -> None:
    """Bad tokens wait for their turn, while good ones from the same address are never held up.

    The address of the tests belongs to a trusted proxy, which names the visitor.
    """

    async def guess(count: int, make: Callable[[], str]) -> float:
        url = f"http://127.0.0.1:{site.stage.server_ports[1]}{PATH}"
        headers = {"Origin": SITE, "X-Forwarded-For": "203.0.113.99"}
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            started = time.monotonic()
            for _ in range(count):
                await client.post(url, json={"token": make()}, headers=headers)
            return time.monotonic() - started

    good = site.token()
    asyncio.run(guess(90, lambda: good))  # more than a stranger is served at once
    assert asyncio.run(guess(60, lambda: "guess")) >= 0.5  # 40 at once, then 20 a second
