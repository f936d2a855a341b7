"""The README is short and leads everywhere, and the reference lists what the code has."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from typer.testing import CliRunner

from pool.api.routes import (
    claims,
    docs,
    embed_claims,
    embeds,
    events,
    meetings,
    public_keys,
    system,
    tag,
    tokens,
)
from pool.cli.main import app
from pool.config.settings import MeetingDefaults, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])


def test_the_readme_takes_five_minutes() -> None:
    """It has at most 200 lines and leads to every other door."""
    assert len(README.splitlines()) <= 200
    for door in ("LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/README.md"):
        assert f"]({door})" in README, door


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text("utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (document.parent / link).exists(), link


def test_the_index_lists_every_document() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"]({path.name})" in index, path.name


def test_the_reference_lists_every_setting() -> None:
    """Every setting of a process and of a meeting is in its table."""
    settings = REFERENCE.partition("\n## Settings\n")[2].partition("\n## ")[0]
    for name in set(Settings.model_fields) - {"workspaces", "meetings"}:
        assert f"`{name.upper()}`" in settings, name
    of_a_meeting = REFERENCE.partition("\n## A meeting's settings\n")[2].partition("\n## ")[0]
    for name in MeetingDefaults.model_fields:
        assert f"`{name}`" in of_a_meeting, name


def test_the_reference_lists_every_call() -> None:
    """A path is written out, or by its last word beside a sibling's."""
    calls = REFERENCE.partition("\n## Calls\n")[2].partition("\n## ")[0]
    paths = {
        re.sub(r":\w+}", "}", route.path)
        for module in (
            claims,
            docs,
            embed_claims,
            embeds,
            events,
            meetings,
            public_keys,
            system,
            tag,
            tokens,
        )
        for route in module.router.routes
        if isinstance(route, APIRoute)
    }
    assert len(paths) > 15
    for path in paths - {"/problems/{name}"}:
        written = path.rstrip("/").replace("{event_id}", "{id}")
        last = written.rpartition("/")[2]
        assert re.search(rf"{re.escape(written)}[`?]|`/{re.escape(last)}`", calls), path


def test_the_version_is_printed() -> None:
    """`linkpool --version` prints the version and ends with 0; an unknown option ends with 2."""
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"linkpool {version('linkpool')}\n")
    assert CliRunner().invoke(app, ["--versions"]).exit_code == 2
