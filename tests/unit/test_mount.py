"""Test that every address leaves the server by one way, which adds the prefix."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.api.http import problems
from pool.api.http.mount import mount, place_of, redirect_to, url
from pool.api.server.mounted import protocol_of
from pool.config.settings import load
from pool.errors import SettingsError, UnknownLink

API = Path(__file__).parents[2] / "pool" / "api"


@pytest.fixture(autouse=True)
def without_prefix() -> Iterator[None]:
    """Remove the prefix after the test."""
    yield
    mount("")


@pytest.mark.parametrize("suffix", ["*.html", "*.py"])
def test_no_page_names_a_place_of_ours_by_itself(suffix: str) -> None:
    """A link without `url` would lead out of the prefix."""
    naming = re.compile(
        r"""\b(?:href|src|action|data-stream)=\\?["'](?:/|\{\{ (?!url\(|static_url\())"""
    )
    assert naming.search('<a href="/ops">')
    assert naming.search('<a href="{{ path }}">')
    files = list(API.rglob(suffix))
    assert len(files) > 20
    for file in files:
        assert not naming.search(file.read_text("utf-8")), file


def test_no_other_code_redirects() -> None:
    """A redirect without `redirect_to` would lead out of the prefix; the demo's leads elsewhere."""
    found = {
        file.relative_to(API).as_posix()
        for file in API.rglob("*.py")
        if "RedirectResponse(" in file.read_text("utf-8")
    }
    assert found == {"http/mount.py", "demo/routes.py"}


def test_without_a_prefix_addresses_are_as_the_contract_has_them() -> None:
    _, _, body = problems.render_error(UnknownLink("none"), "/v1/links/x")
    assert json.loads(body)["type"] == "/problems/unknown-link"
    assert json.loads(body)["instance"] == "/v1/links/x"
    assert redirect_to("/ops").headers["location"] == "/ops"


def test_below_a_prefix_every_address_has_it() -> None:
    mount("/linkpool")
    _, _, body = problems.render_error(UnknownLink("none"), "/v1/links/x")
    assert json.loads(body)["type"] == "/linkpool/problems/unknown-link"
    assert json.loads(body)["instance"] == "/linkpool/v1/links/x"
    assert redirect_to("/ops").headers["location"] == url("/ops") == "/linkpool/ops"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (b"/linkpool/ops?a=b", b"/ops?a=b"), (b"/ops", b"/ops"), (b"/linkpool", b"/"),
        (b"/linkpool?a=b", b"/?a=b"), (b"/linkpools/ops", b"/linkpools/ops"), (b"/", b"/"),
    ],
)  # fmt: skip
def test_an_address_names_a_place_with_the_prefix_or_without(address: bytes, place: bytes) -> None:
    mount("/linkpool")
    assert place_of(address) == place


@pytest.mark.parametrize("root_path", ["", "/linkpool"])
def test_the_protocol_can_be_given_to_another_process(root_path: str) -> None:
    """Each of several API processes has an interpreter of its own."""
    protocol = protocol_of(root_path)
    assert pickle.loads(pickle.dumps(protocol)) is protocol


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/linkpool", "/linkpool"),
        ("/a/b/", "/a/b"),
        ("/", ""),
        ("/link-pool_1.x~", "/link-pool_1.x~"),
    ],
)
def test_a_prefix_is_kept_without_a_slash_at_its_end(given: str, kept: str) -> None:
    assert load({"LINKPOOL_ROOT_PATH": given}).root_path == kept


@pytest.mark.parametrize(
    "given",
    ["linkpool", "https://x.example/y", "//evil.example", "/a//b", "/a/../b", "/a?b", "/ops",
     "/v1/x", "/é", "/a b", "/" + "a" * 200],
)  # fmt: skip
def test_what_is_no_prefix_is_refused_by_name(given: str) -> None:
    with pytest.raises(SettingsError, match=r"^LINKPOOL_ROOT_PATH: "):
        load({"LINKPOOL_ROOT_PATH": given})
