"""Test the script that sites load: its size, the addresses in it, and its caching."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import re
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from typer.testing import CliRunner

from pool.api.routes import tag as routes
from pool.cli.main import app
from pool.config.settings import Workspace
from pool.embeds.tag import tag_of

VENDORS = "https://cdn.neetocal.com/javascript/embed.js"


def workspace(name: str = "default", base_url: str = "") -> Workspace:
    return Workspace(
        name=name, subdomain="acme", api_key=SecretStr("a-key"), base_url=base_url
    )  # fmt: skip


def test_the_tag_has_less_than_four_kilobytes() -> None:
    """Gzipped, as browsers load it, with the addresses of two workspaces."""
    tag = tag_of({"default": workspace(), "other": workspace("other", "http://127.0.0.1:8001")})
    assert len(tag.gzipped) < 4096
    assert gzip.decompress(tag.gzipped) == tag.content


def test_the_tag_loads_the_scripts_of_the_workspaces_and_no_other() -> None:
    """Whatever an answer names, only these are ever loaded, each listed once."""
    assert f'["{VENDORS}"]'.encode() in tag_of({"default": workspace()}).content
    two = tag_of({"default": workspace(base_url="http://127.0.0.1:8001"), "b": workspace("b")})
    assert f'["http://127.0.0.1:8001/javascript/embed.js", "{VENDORS}"]'.encode() in two.content
    same = tag_of({"a": workspace("a"), "b": workspace("b")})
    assert same.content.count(VENDORS.encode()) == 1


def test_the_tag_is_served_as_it_is_written() -> None:
    """But for comments and spaces: joining lines merges no two words, and drops no code."""
    source = (files("pool.embeds") / "tag.js").read_text("utf-8")
    lines = [line.strip() for line in source.splitlines()]
    code = [line for line in lines if line and not line.startswith("//")]
    served = tag_of({}).content.decode()
    assert re.sub(r"\s", "", served) == re.sub(r"\s", "", "".join(code))
    assert re.findall(r"\w+", served) == re.findall(r"\w+", "".join(code))
    for text in re.findall(r'"(.*?)"', served):
        assert f'"{text}"' in "".join(code), "a space of a text is gone"
    assert not [line for line in code if " // " in line], "a comment would swallow what follows"
    for line, following in itertools.pairwise(code):
        assert not (line[-1:].isalnum() and following[:1].isalnum()), f"{line} | {following}"
        # Where a new line alone would end a statement, it has to be ended by a semicolon.
        if line.startswith(("if (", "else if (", "for (")):
            continue
        assert line[-1:] in ";{},:(>=`&|?" or following[:1] in ".?:})]`", f"{line} | {following}"


@pytest.fixture
def client() -> httpx.AsyncClient:
    """Return a client of an application that has nothing but these routes."""
    api = FastAPI()
    api.include_router(routes.router)
    api.state.service = SimpleNamespace(
        settings=SimpleNamespace(workspaces={"default": workspace()})
    )
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=api), base_url="http://linkpool",
        headers={"accept-encoding": "identity"},
    )  # fmt: skip


async def test_any_page_may_load_the_tag(client: httpx.AsyncClient) -> None:
    """It is public, kept for a short time, and taken for nothing but a script."""
    answer = await client.get("/embed.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "max-age=300" in answer.headers["cache-control"]
    assert "immutable" not in answer.headers["cache-control"]


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br, gzip;q=0.5", "gzip;q=0"])
async def test_an_unchanged_tag_is_not_sent_again(client: httpx.AsyncClient, encoding: str) -> None:
    """Each encoding has an ETag of its own, and is answered 304 by it."""
    zipped = encoding in ("gzip", "br, gzip;q=0.5")
    headers = {"accept-encoding": encoding}
    first = await client.get("/embed.js", headers=headers)
    assert first.headers.get("content-encoding") == ("gzip" if zipped else None)
    assert first.content == tag_of({"default": workspace()}).content
    etag = first.headers["etag"]
    again = await client.get("/embed.js", headers=headers | {"if-none-match": f'"x", W/{etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    other = await client.get("/embed.js", headers=headers | {"if-none-match": '"x"'})
    assert other.status_code == 200


async def test_the_pinned_address_never_changes(client: httpx.AsyncClient) -> None:
    """It is kept for a year, and is what `integrity` says; an outdated one is not kept at all."""
    tag = tag_of({"default": workspace()})
    answer = await client.get(tag.path)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    digest = base64.b64encode(hashlib.sha384(answer.content).digest()).decode()
    assert tag.integrity == f"sha384-{digest}"
    outdated = await client.get("/embed/0123456789abcdef.js")
    assert (outdated.status_code, outdated.content) == (200, tag.content)
    assert outdated.headers["cache-control"] == "no-cache"


def test_the_command_line_prints_the_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is plain, or pinned with the `integrity` of the served bytes, and arguments are
    escaped.
    """
    monkeypatch.chdir(tmp_path)
    plain = CliRunner().invoke(app, ["tag", "--meeting", "demo", "--public-key", 'pk"x'])
    assert plain.stdout == (
        '<script async crossorigin src="https://links.example.com/embed.js" data-meeting="demo" '
        'data-public-key="pk&quot;x"></script>\n'
    )
    pinned = CliRunner().invoke(
        app, ["tag", "--meeting", "demo", "--pinned", "--url", "https://l/"]
    )
    tag = tag_of({})
    assert f'src="https://l{tag.path}" integrity="{tag.integrity}"' in pinned.stdout
    assert CliRunner().invoke(app, ["tag", "--meeting", "no sid"]).exit_code == 2
