"""Test the locks that the image is built from, and the lowest versions that CI runs on."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# Of the image, which the locks are for.
IMAGE = {"python_version": "3.12", "python_full_version": "3.12.0", "sys_platform": "linux"}
LOCKS = {
    "requirements.lock": PYPROJECT["project"]["dependencies"]
    + PYPROJECT["project"]["optional-dependencies"]["otel"],
    "requirements-build.lock": PYPROJECT["build-system"]["requires"],
}


def pins(name: str) -> dict[str, Version]:
    """Return the version of each package that a lock names."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+)(?: ; .*)? \\", line) for line in lines]
    return {canonicalize_name(each[1]): Version(each[2]) for each in found if each}


def unmet(texts: list[str], held: dict[str, Version], extras: frozenset[str]) -> list[str]:
    """Return those of the requirements that the pins do not meet."""
    missing = []
    for text in texts:
        needed = Requirement(text)
        marker = needed.marker
        if marker and not any(marker.evaluate(IMAGE | {"extra": e}) for e in extras | {""}):
            continue
        version = held.get(canonicalize_name(needed.name))
        if version is None or not needed.specifier.contains(version, prereleases=True):
            missing.append(f"{text} (locked: {version})")
    return missing


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_meets_what_the_project_asks_for(name: str) -> None:
    """Each dependency is locked at a version within its bounds; else run deploy/lock.sh."""
    assert unmet(LOCKS[name], pins(name), frozenset()) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_whole(name: str) -> None:
    """Everything that a locked package needs is locked too, as far as it is installed here."""
    held = pins(name)
    asked = {canonicalize_name(Requirement(each).name): Requirement(each) for each in LOCKS[name]}
    seen = 0
    for package, version in held.items():
        try:
            here = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        if Version(here.version) != version:
            continue
        seen += 1
        extras = frozenset(asked[package].extras) if package in asked else frozenset()
        assert unmet(here.requires or [], held, extras) == [], package
    assert seen or name != "requirements.lock", "nothing that is locked is installed here"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_and_no_address(name: str) -> None:
    """Each package has the hashes of its files; where they come from is the installer's affair."""
    text = (ROOT / name).read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=sha256:[0-9a-f]{64}( \\)?$)", text, re.MULTILINE)
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(name))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_lowest_versions_are_the_bounds_of_the_project() -> None:
    """CI runs on the very versions that pyproject.toml begins with, and all have an end."""
    bounds = {}
    for text in PYPROJECT["project"]["dependencies"]:
        needed = Requirement(text)
        operators = {each.operator: each.version for each in needed.specifier}
        bounds[canonicalize_name(needed.name)] = operators
    lines = (ROOT / ".ci/lowest.txt").read_text("utf-8").splitlines()
    lowest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {"celery", "httptools", "kombu", "redis", "sqlalchemy", "uvicorn"} <= set(lowest)
    for name, version in lowest.items():
        # 5.7 and 5.7.0 are the same version.
        assert Version(bounds[name][">="]) == Version(version), name
        assert "<" in bounds[name], f"{name} has no upper bound"
