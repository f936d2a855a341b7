"""Learn from the provider's first answer what links begin with, and watch it from then on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pool.config.settings import Workspace
from pool.errors import BadAnswer
from pool.providers.answers import new_link
from pool.supply.link_bases import LinkBases
from tests.in_process import InProcess, in_process

OWN = "https://meet.example.com"


def workspace(**fields: str) -> Workspace:
    return Workspace.model_validate(
        {"name": "default", "subdomain": "acme", "api_key": "key"} | fields
    )


def read(url: str, slug: str = "one-off-c5530bc7c9ab", **fields: str) -> str:
    """Return the link that an answer with this URL gives."""
    body = json.dumps({"slug": slug, "url": f"{url}/{slug}"}).encode()
    return new_link(workspace(**fields), 200, body).url


@pytest.mark.parametrize(
    "base", [OWN, "https://meet.example.com/book", "https://a-b.c.example.co", "https://m.example.com:443"]
)  # fmt: skip
def test_a_domain_of_its_own_is_taken_from_the_answer(base: str) -> None:
    """HTTPS, a public host name, a plain path."""
    assert read(base) == f"{base}/one-off-c5530bc7c9ab"


@pytest.mark.parametrize(
    "base",
    [
        "http://meet.example.com", "https://user@meet.example.com", "https://u:p@meet.example.com",
        "https://127.0.0.1", "https://[::1]", "https://10.0.0.1", "https://localhost",
        "https://intranet", "https://redis.internal", "https://printer.local", "javascript://x.com",
        "https://meet.example.com:8443", "https://-x.example.com", "https://x..example.com",
        "https://xn--e1afmkfd.xn--p1ai.1", "https://meet.example.com?x=", "https://meet.example.com#",
        "//meet.example.com", "https://meet.example.com/" + "a" * 300, "https://0x7f.1",
    ],
)  # fmt: skip
def test_an_odd_address_is_refused(base: str) -> None:
    """Visitors are sent there."""
    with pytest.raises(BadAnswer):
        read(base)


def test_a_local_provider_may_say_what_it_likes() -> None:
    """The sandbox is reached over plain HTTP."""
    assert read("http://127.0.0.1:9/book", base_url="http://127.0.0.1:8").startswith("http://127")
    with pytest.raises(BadAnswer):
        read("ftp://127.0.0.1:9", base_url="http://127.0.0.1:8")


def test_what_is_set_wins() -> None:
    """Another address is then refused."""
    assert read(OWN, link_base_url=OWN).startswith(OWN)
    with pytest.raises(BadAnswer, match="LINK_BASE_URL"):
        read("https://other.example.com", link_base_url=OWN)


@pytest.fixture
def own_domain(product: InProcess, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Make the workspace's links begin otherwise than its API's address."""
    monkeypatch.setattr("pool.supply.link_bases.PUBLISHED_SECONDS", 0.0)
    product.provider.link_url = OWN
    return product


async def test_the_first_answer_says_how_links_begin(own_domain: InProcess) -> None:
    """No link is burnt; claims, the recorder and other processes know it."""
    await own_domain.meeting("intro", min_fresh=5)
    await own_domain.top_up()
    assert len(await own_domain.pooled("intro")) == 5
    here = own_domain.parts.settings.workspace("default")
    assert here is not None
    assert here.link_url == OWN
    assert await own_domain.ledger.facts.get("link-base:default") == OWN
    assert await own_domain.store.published.link_bases() == {"default": OWN}
    rows = await own_domain.ledger.links.find(await own_domain.pooled("intro"))
    assert all(row.url == f"{OWN}/{row.slug}" for row in rows)


async def test_another_process_learns_it_without_a_link_of_its_own(
    own_domain: InProcess, fake_redis: Any, sqlite_url: str
) -> None:
    """It reads Redis, or the ledger where Redis lost it."""
    await own_domain.meeting("intro", min_fresh=1)
    await own_domain.top_up()
    for forget in (False, True):
        if forget:
            await own_domain.redis.bare.delete("lp:link-bases")
        async with in_process(fake_redis, sqlite_url) as other:
            await other.parts.bases.refresh()
            workspace = other.parts.settings.workspace("default")
            assert workspace is not None
            assert workspace.link_url == OWN
    await own_domain.parts.bases.publish()
    assert await own_domain.store.published.link_bases() == {"default": OWN}


async def test_a_change_later_is_an_alarm(own_domain: InProcess) -> None:
    """No such link is pooled, and the block names the new base."""
    await own_domain.meeting("intro", min_fresh=2)
    await own_domain.top_up()
    own_domain.provider.link_url = "https://evil.example.com"
    await own_domain.store.stock.take_out("intro", up_to_ms=None)
    await own_domain.top_up()
    assert await own_domain.pooled("intro") == []
    level = await own_domain.level("intro")
    assert level.block is None or "evil.example.com" in level.block.reason
    assert own_domain.counted("intro", "bad-answer") >= 1
    assert (await own_domain.ledger.facts.get("link-base:default")) == OWN


async def test_two_who_learn_at_once_learn_the_same(product: InProcess) -> None:
    """The first to write decides."""
    one = LinkBases(product.store, product.ledger, product.parts.settings)
    two = LinkBases(product.store, product.ledger, product.parts.settings)
    api = "https://acme.neetocal.com"
    await one.check("default", f"{api}/one-off-1", "one-off-1")
    with pytest.raises(BadAnswer, match="until now") as refused:
        await two.check("default", f"{OWN}/one-off-2", "one-off-2")
    assert refused.value.maybe_made, "the provider did make that link"
