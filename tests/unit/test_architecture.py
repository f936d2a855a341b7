"""Compare the picture of the rooms, the dictionary and the walks with the code as it is."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from tests.architecture import DOT, ROOT, SVG, arrows, draw, layers

# A path or dotted name of a module, as documents write it.
_PATH = re.compile(r"`((?:pool|worker|sandbox|bench|tests|deploy)/[\w./-]*)`")
_MODULE = re.compile(r"`((?:pool|worker|sandbox)\.[a-z_.]+)`")


def test_the_picture_is_drawn_from_the_imports() -> None:
    """`make picture` was run since rooms or imports changed."""
    assert DOT.read_text("utf-8") == draw()


def test_the_svg_shows_the_arrows_of_its_source() -> None:
    drawn = set(re.findall(r"<title>([^<]*(?:&#45;&gt;|->)[^<]*)</title>", SVG.read_text("utf-8")))
    written = re.findall(r'^  "([^"]+)" -> "([^"]+)"', DOT.read_text("utf-8"), re.M)
    assert {unescape(each) for each in drawn} == {f"{start}->{to}" for start, to in written}


def test_no_arrow_runs_upward() -> None:
    height = {room: n for n, layer in enumerate(layers()) for room in layer}
    assert [(start, to) for start, to in arrows() if height[start] >= height[to]] == []


@pytest.mark.parametrize(
    "document",
    sorted(
        str(path.relative_to(ROOT))
        for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        if path.name != "CHANGELOG.md"  # it tells of what was
    ),
)
def test_documents_name_files_that_exist(document: str) -> None:
    """A file that is gone or was moved is no longer named."""
    text = (ROOT / document).read_text("utf-8")
    gone = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    for name in _MODULE.findall(text):
        as_path = Path(*name.split("."))
        if not any((ROOT / each).exists() for each in (f"{as_path}.py", as_path)):
            gone.append(name)
    assert gone == []
