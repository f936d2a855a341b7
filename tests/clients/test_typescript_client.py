"""Test the TypeScript client: its own tests, types and README, against a running linkpool."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.product import Product
from tests.clients import typescript_build
from tests.clients.jwt_reader import read
from tests.debian import debian

SECRET = "a-token-secret-of-at-least-32-characters"
RENEW = "renew openapi.json and src/schema.ts as clients/typescript/README.md says"


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest) -> Path:
    """Return the compiled client. Compiling it tests that all types hold."""
    return typescript_build.build(request.config.cache)


def environment(product: Product, signer: tuple[str, str] = ("", "")) -> dict[str, str]:
    """Return linkpool's address and keys for a program in another language."""
    return os.environ | {
        "LINKPOOL_TOKEN_SIGNER": " ".join(signer),
        "LINKPOOL_URL": product.url,
        "LINKPOOL_KEY": product.key,
        "LINKPOOL_TOKEN_SECRET": SECRET,
    }


@pytest.fixture(scope="module")
def report(built: Path, product: Product, signer: tuple[str, str]) -> str:
    """Run the client's own tests in Node's test runner. Return its report."""
    tests = sorted(str(each) for each in (built / "build" / "test").glob("*.test.js"))
    command = [debian("node"), "--test", "--test-reporter=tap", *tests]
    return typescript_build.run(command, built, environment(product, signer))


def test_its_own_tests_pass(report: str) -> None:
    """All of them run."""
    counts = {name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", report, re.M)}
    assert counts["pass"] == counts["tests"] >= 30, report
    assert "# SKIP" not in report


def test_it_needs_nothing_at_run_time() -> None:
    """The client uses fetch alone, so that installing it installs no other package."""
    package = json.loads((typescript_build.SOURCE / "package.json").read_text())
    assert "dependencies" not in package
    imported = {
        each
        for source in (typescript_build.SOURCE / "src").glob("*.ts")
        for each in re.findall(r' from "([^"]+)"', source.read_text("utf-8"))
    }
    assert imported
    assert {each for each in imported if not each.startswith("./")} == set()


def test_its_types_are_those_of_the_document(built: Path) -> None:
    """The generator makes what is committed, from the document that is committed."""
    generator = str(built / "node_modules" / "openapi-typescript" / "bin" / "cli.js")
    command = [debian("node"), generator, "openapi.json", "--empty-objects-unknown"]
    typescript_build.run([*command, "--output", "again.ts"], built)
    committed = (typescript_build.SOURCE / "src" / "schema.ts").read_text("utf-8")
    assert (built / "again.ts").read_text("utf-8") == committed, RENEW


def test_linkpool_still_answers_what_the_types_say(product: Product) -> None:
    """Everything that the client's types name is in the running linkpool's document."""
    kept = json.loads((typescript_build.SOURCE / "openapi.json").read_text("utf-8"))
    now = product.api("GET", "/openapi.json", key="").json()
    for name in ("ClaimRequest", "EmbeddedClaimRequest", "ClaimAnswer", "ClaimBody", "LinkAnswer"):
        schemas = "components", "schemas", name
        lost = [*_lost(_at(kept, *schemas), _at(now, *schemas), name)]
        assert not lost, f"{lost}: {RENEW}"
    for path in ("claims", "claims/{customer_id}"):
        for method in kept["paths"][f"/v1/meetings/{{sid}}/{path}"]:
            assert method in now["paths"][f"/v1/meetings/{{sid}}/{path}"], RENEW


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value[name]
    return value


def _lost(old: Any, new: Any, where: str) -> list[str]:
    """Return the places of `old` that are missing or different in `new`, apart from
    descriptions.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            each
            for name in old.keys() - {"description", "title"}
            for each in (_lost(old[name], new[name], f"{where}.{name}") if name in new else [where])
        ]
    if isinstance(old, list) and isinstance(new, list):
        return [f"{where}[{each}]" for each in old if each not in new]
    return [] if old == new else [where]


def test_the_examples_of_the_readme_run(built: Path, product: Product) -> None:
    """They compile as strictly as the client itself, and what they show is what happens."""
    assert len(typescript_build.EXAMPLES) == 3
    assert len([line for line in typescript_build.EXAMPLES[0].splitlines() if line]) <= 5
    said = []
    for number in range(3):
        command = [debian("node"), f"build/test/readme-{number}.js"]
        said.append(typescript_build.run(command, built, environment(product)))
    assert product.slug("demo", "order-4711") in said[0]
    assert product.slug("demo", "order-4712") in said[1]
    header, claims = read(said[2].strip(), SECRET)
    assert header["kid"] == "1a2b3c4d"
    assert claims.keys() == {"meeting", "customer_id", "exp"}
