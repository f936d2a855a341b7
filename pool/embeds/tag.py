"""Compose the script that a page loads: the tag, which loads the provider's script."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

from pool.config.settings import Workspace

_SOURCE = "tag.js"
_LIST_OF_SCRIPTS = 'SCRIPTS=["https://cdn.neetocal.com/javascript/embed.js"];'

_SPACED = re.compile(r" ?(=>|[=,{}]|\|\|) ?")


@dataclass(frozen=True, slots=True)
class Tag:
    """The script as it is served; its address and `integrity` change with its content."""

    content: bytes = field(repr=False)
    gzipped: bytes = field(repr=False)
    digest: str
    integrity: str

    @property
    def path(self) -> str:
        """Return the address of exactly this content, which never changes."""
        return f"/embed/{self.digest}.js"


def tag_of(workspaces: Mapping[str, Workspace]) -> Tag:
    """Return the tag for these workspaces; it loads the embed scripts of these and no others."""
    return _composed(tuple(dict.fromkeys(each.embed_script_url for each in workspaces.values())))


@lru_cache(maxsize=4)
def _composed(scripts: tuple[str, ...]) -> Tag:
    source = (files(__package__) / _SOURCE).read_text("utf-8")
    text = "".join(_code(source.splitlines()))
    if scripts:
        # As JSON, and with no "<", so that it could even stand in a page.
        listed = json.dumps(scripts).replace("<", "\\u003c")
        text = text.replace(_LIST_OF_SCRIPTS, f"SCRIPTS={listed};")
    content = text.encode()
    sha384 = base64.b64encode(hashlib.sha384(content).digest()).decode()
    return Tag(
        content=content,
        gzipped=gzip.compress(content, 9, mtime=0),
        digest=hashlib.sha256(content).hexdigest()[:16],
        integrity=f"sha384-{sha384}",
    )


def _code(lines: Iterable[str]) -> Iterable[str]:
    """Yield the lines without comments and most spaces, which visitors need not load.

    Joined, they are still the same statements: in the source, a comment has a line of its own,
    every statement ends with a semicolon, no line is broken between two words, and no text has a
    space beside one of `_SPACED`.
    """
    for line in lines:
        code = line.strip()
        if code and not code.startswith("//"):
            yield _SPACED.sub(r"\1", code)
