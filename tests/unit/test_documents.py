"""Test that the README is short and links everywhere, and that the reference is complete."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules

import pytest
from fastapi.routing import APIRoute
from typer.testing import CliRunner

from pool.api import routes
from pool.cli.main import app
from pool.config.settings import MeetingDefaults, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
MODULES = [import_module(f"pool.api.routes.{each.name}") for each in iter_modules(routes.__path__)]
ROUTERS = [each.router for each in MODULES if hasattr(each, "router")]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])


def test_the_readme_takes_five_minutes() -> None:
    """It has at most 200 lines and leads to every other door."""
    assert len(README.splitlines()) <= 200
    for door in ("LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/README.md"):
        assert f"]({door})" in README, door


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_lead_to_files_that_exist(document: Path) -> None:
    """A link within the repository names a file or a folder of it."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    assert links or document.name not in ("README.md", "CONTRIBUTING.md"), "a link is recognised"
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_index_lists_every_document() -> None:
    """docs/README.md has a link to each document beside it."""
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    names = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert "design.md" in names
    assert {name for name in names if f"]({name})" not in index} == set()


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
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
    }
    assert len(ROUTERS) >= 10
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
