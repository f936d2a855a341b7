"""Test the Python client's distribution, its README and its calls against a running linkpool."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import linkpool_client as lp
import pytest

from tests.acceptance.product import Product, wait_until
from tests.clients.either_client import KINDS

CLIENT = Path(__file__).parents[2] / "clients" / "python"
README = (CLIENT / "README.md").read_text("utf-8")


@pytest.fixture(params=sorted(KINDS))
def client(request: pytest.FixtureRequest, product: Product) -> Iterator[lp.Client]:
    """Return a client of either kind with the admin key."""
    client = KINDS[request.param](product.url, product.key)
    yield client
    client.close()


NewCustomer = Callable[[], str]


def test_a_claim_is_kept_looked_up_and_forgotten(
    client: lp.Client, product: Product, new_customer: NewCustomer
) -> None:
    """The life of a claim, for an id that has to be encoded on its way."""
    customer = f"{new_customer()}/ü ?#..%"
    with pytest.raises(lp.UnknownClaim):
        client.get("demo", customer)
    first = client.claim("demo", customer, email="zoe@example.com", metadata={"plan": "a"})
    again = client.claim("demo", customer)
    assert (first.reused, again.reused) == (False, True)
    assert client.get("demo", customer) == again.claim == first.claim
    assert first.claim.customer_id == customer
    assert first.embed["slug"] == first.claim.slug
    wait_until(lambda: client.link(first.claim.slug).state == "claimed")
    link = client.link(first.claim.slug)
    assert (link.customer_id, link.email, link.metadata) == (
        customer,
        "zoe@example.com",
        {"plan": "a"},
    )
    assert [event.what for event in link.history] == ["created", "claimed"]
    client.forget("demo", customer)
    with pytest.raises(lp.UnknownClaim):
        client.get("demo", customer)


def test_an_id_of_dots_is_an_id(client: lp.Client) -> None:
    """It names the customer, not the parent address."""
    claimed = client.claim("demo", "..")
    assert client.get("demo", "..") == claimed.claim
    client.forget("demo", "..")


def test_a_booking_is_in_the_claim(
    client: lp.Client, product: Product, new_customer: NewCustomer
) -> None:
    """The claim of a customer who has booked says when, and so does the embed code."""
    customer = new_customer()
    slug = client.claim("demo", customer).claim.slug
    product.control("book", slug=slug)
    wait_until(lambda: client.get("demo", customer).booked, what="the booking is settled")
    claimed = client.claim("demo", customer, embed="inline")
    booking = claimed.claim.booking
    assert booking is not None
    assert booking.starts_at is not None
    assert booking.starts_at.tzinfo is not None
    assert "booked" in (claimed.embed_html or "")
    assert "neetoCal.embed(" not in (claimed.embed_html or "")


def test_refusals_of_a_real_linkpool(client: lp.Client, product: Product) -> None:
    """linkpool's problems are raised under their types."""
    with pytest.raises(lp.UnknownMeeting):
        client.claim("nowhere", "order-1")
    with pytest.raises(lp.InvalidCustomerId):
        client.claim("demo", "a\x00b")
    with pytest.raises(lp.InvalidRequest) as raised:
        client.claim("demo", "order-1", email="not an address")
    assert any("email" in each for each in raised.value.errors)
    with pytest.raises(lp.UnknownLink):
        client.link("one-off-never-made")
    with lp.Client(product.url, "lp_00000000_wrong") as stranger, pytest.raises(lp.Unauthorized):
        stranger.claim("demo", "order-1")


def test_linkpool_knows_each_problem_that_has_a_class(product: Product) -> None:
    """A class for a name that linkpool does not have would never be raised."""
    assert "pool-empty" in lp.errors.BY_NAME
    for name in lp.errors.BY_NAME:
        if name == "unavailable":  # the base of those of status 503
            continue
        assert product.api("GET", f"/problems/{name}", key="").status_code == 200, name


def test_replace_gives_a_fresh_link(
    client: lp.Client, product: Product, new_customer: NewCustomer
) -> None:
    """The old link is not the customer's any more."""
    customer = new_customer()
    old = client.claim("demo", customer).claim
    new = client.replace("demo", customer, "it showed an expired page", slug=old.slug)
    assert new.slug != old.slug
    assert client.replace("demo", customer, "once more", slug=old.slug).slug == new.slug
    assert client.get("demo", customer).slug == new.slug


def test_a_batch_claims_for_each(
    client: lp.Client, product: Product, new_customer: NewCustomer
) -> None:
    """Results in order; repeated, they are the same."""
    customers = [new_customer() for _ in range(5)]
    first = client.claim_batch("demo", customers)
    again = client.claim_batch("demo", customers)
    assert [each.customer_id for each in first] == customers
    assert [each.status for each in first] == [201] * 5
    assert [each.status for each in again] == [200] * 5
    assert [each.claim for each in again] == [each.claim for each in first]
    assert len({each.claim.slug for each in first if each.claim}) == 5
    mixed = client.claim_batch("demo", [customers[0], "a\x00b"])
    assert mixed[0].claim == first[0].claim
    assert isinstance(mixed[1].problem, lp.InvalidCustomerId)


@pytest.mark.parametrize("kind", ["inline", "element-click", "floating-popup"])
def test_embed_code_comes_with_the_claim_and_later(
    kind: lp.EmbedType, client: lp.Client, product: Product, new_customer: NewCustomer
) -> None:
    """The code is for this customer's link, of the kind that was asked for."""
    prefill = {"name": "Zoe"}
    options = {"nonce": "bm9uY2U="}
    claimed = client.claim("demo", new_customer(), embed=kind, prefill=prefill, options=options)
    assert claimed.embed["queryParams"]["name"] == "Zoe"
    assert 'nonce="bm9uY2U="' in (claimed.embed_html or "")
    assert claimed.claim.slug in (claimed.embed_html or "")
    wait_until(lambda: client.link(claimed.claim.slug).state == "claimed")
    assert claimed.claim.slug in client.embed_html(claimed.claim.slug, kind)


def test_a_browser_claims_with_a_token(
    client: lp.Client, product: Product, new_customer: NewCustomer, signer: tuple[str, str]
) -> None:
    """A token is for the customer's one link, no matter if linkpool or the client signed it."""
    customer = f"{new_customer()} zoë/👋"
    served = client.token("demo", customer, email="zoe@example.com", expires_in=60)
    assert 0 < (served.expires_at - datetime.now(UTC)).total_seconds() <= 60
    made = lp.sign_token(signer[1], signer[0], "demo", customer, 60)
    urls = set()
    for token in (served.token, made):
        answer = product.api("POST", "/v1/embed/claims", key="", json={"token": token})
        assert answer.is_success, answer.text
        urls.add(answer.json()["url"])
    assert urls == {client.get("demo", customer).url}
    with pytest.raises(lp.UnknownMeeting):
        client.token("nowhere", customer)
    with pytest.raises(lp.InvalidRequest):
        client.token("demo", customer, expires_in=100_000)


def test_the_server_example_of_the_main_readme_runs(
    product: Product, monkeypatch: pytest.MonkeyPatch, new_customer: NewCustomer
) -> None:
    """Its page has the customer's own link, the same on each visit."""
    readme = (CLIENT.parents[1] / "README.md").read_text("utf-8")
    [example] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(example.splitlines()) <= 12
    monkeypatch.setenv("LINKPOOL_URL", product.url)
    monkeypatch.setenv("LINKPOOL_KEY", product.key)
    names: dict[str, Any] = {}
    exec(example, names)
    order = new_customer()
    page = names["booking"](order).body.decode()
    slug = product.api("GET", f"/v1/meetings/demo/claims/order-{order}").json()["claim"]["slug"]
    assert "neetoCal.embed({" in page
    assert slug in page
    assert names["booking"](order).body.decode() == page
    names["linkpool"].close()


def test_the_examples_of_the_readme_run(product: Product, tmp_path: Path) -> None:
    """The README's example does what it shows."""
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 3
    lines = [line for line in examples[0].splitlines() if line and "import" not in line]
    assert len(lines) <= 5
    environ = {
        "PYTHONPATH": str(CLIENT),
        "LINKPOOL_URL": product.url,
        "LINKPOOL_KEY": product.key,
        "LINKPOOL_TOKEN_SECRET": "s" * 43,
    }
    said = []
    for example in examples:
        shows = "\nprint(globals().get('shown'), globals().get('token'))"
        command = [sys.executable, "-W", "error", "-c", example + shows]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert product.slug("demo", "order-4711") in said[0]
    assert product.slug("demo", "order-4712") in said[1]
    assert said[2].count(".") == 2


def test_the_wheel_is_typed_and_needs_httpx_alone(tmp_path: Path) -> None:
    """It installs without linkpool itself, and type checkers find its types."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("linkpool_client-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        (metadata,) = (name for name in names if name.endswith("METADATA"))
        needs = re.findall(r"^Requires-Dist: (\S+)", opened.read(metadata).decode(), re.MULTILINE)
    assert "linkpool_client/py.typed" in names
    assert [re.split(r"[<>=!~]", each)[0] for each in needs] == ["httpx"]
    assert all(name.startswith(("linkpool_client/", "linkpool_client-")) for name in names)


def test_the_types_hold() -> None:
    """mypy in its strict mode reports nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=CLIENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
