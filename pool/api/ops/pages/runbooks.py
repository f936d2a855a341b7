"""Show what to do about each alert: the text of docs/monitoring.md, from the installed package.

At 3 a.m. nobody looks for a repository. `runbooks.md` is the section of the document, word for
word; a test compares them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.sessions import SignedIn
from pool.errors import Unknown

router = views()

_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@cache
def runbooks() -> dict[str, list[str]]:
    """Return the paragraphs of each alert's section, with code between backticks."""
    text = (files("pool.api.ops") / "runbooks.md").read_text("utf-8")
    found: dict[str, list[str]] = {}
    for section in text.split("\n### ")[1:]:
        name, _, body = section.partition("\n")
        paragraphs = body.split("\n\n")
        found[name.strip()] = [
            " ".join(_LINK.sub(r"\1", each).split()) for each in paragraphs if each.strip()
        ]
    return found


@router.get("/ops/runbooks")
async def index(request: Request, session: SignedIn) -> Response:
    """List the alerts."""
    session.caller.check(Scope.READ)
    return render(request, "runbooks.html", session, title="Runbooks", runbooks=runbooks())


@router.get("/ops/runbooks/{alert}")
async def runbook(alert: str, request: Request, session: SignedIn) -> Response:
    """Show what to do about one alert."""
    session.caller.check(Scope.READ)
    found = {name: text for name, text in runbooks().items() if name.lower() == alert.lower()}
    if not found:
        raise Unknown("there is no such alert")
    return render(request, "runbooks.html", session, title=next(iter(found)), runbooks=found)
