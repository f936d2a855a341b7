"""Test that the operators' page carries no style, macro or file that nothing uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture import ROOT

OPS = ROOT / "pool" / "api" / "ops"
STATIC, TEMPLATES = OPS / "static", OPS / "templates"
_RULES = re.compile(r"/\*.*?\*/|\{[^{}]*\}", re.S)  # comments, and what a rule declares
_NAME = re.compile(r"[.#](-?[A-Za-z_][\w-]*)")


def _texts(*kinds: str) -> str:
    return "\n".join(
        path.read_text("utf-8") for kind in kinds for path in sorted((ROOT / "pool").rglob(kind))
    )


MARKUP = _texts("*.html")
CODE = _texts("*.html", "*.js", "*.py")
WORDS = frozenset(re.findall(r"[A-Za-z_][\w-]*", CODE))
BEGUN = tuple(re.findall(r"([a-z][\w-]*-)\{\{", MARKUP))  # class="feel-{{ status.feel }}"


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.css")), ids=lambda path: path.name)
def test_every_class_and_id_that_a_style_names_is_used(path: Path) -> None:
    """A template uses it, or a script, or a name in the code that a template writes as a class."""
    named = set(_NAME.findall(_RULES.sub(" ", path.read_text("utf-8"))))
    unused = {
        name
        for name in named - WORDS
        if not any(name.startswith(begun) and name[len(begun) :] in WORDS for begun in BEGUN)
    }
    assert len(named) > 10
    assert unused == set()


def test_every_template_macro_and_static_file_is_used() -> None:
    macros = set(re.findall(r"\{%-? macro (\w+)", MARKUP))
    files = {path.name for path in STATIC.iterdir() if path.suffix in (".js", ".css", ".svg")}
    assert len(macros) > 10
    assert len(files) > 10
    assert [name for name in macros if len(re.findall(rf"\b{name}\(", MARKUP)) < 2] == []
    served = "\n".join(re.findall(r"static_url\(.*?\)|ICONS = .*", CODE))
    assert [name for name in files if name not in served] == []
