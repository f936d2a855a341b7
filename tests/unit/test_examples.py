"""Test that the OpenAPI document shows an example of each call, and that each is as described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from pool.api.routes import docs
from pool.api.server.app import Application
from pool.config.settings import load


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    environ = {"LINKPOOL_SECRET_KEY": "the secret key of the tests, and of nothing else"}
    return Application(load(environ)).framework.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield method, path, operation


def test_each_call_has_an_example(document: dict[str, Any]) -> None:
    """Every body, every JSON answer and every problem has one."""
    lacking = []
    for method, path, operation in operations(document):
        parts = {"body": operation.get("requestBody", {})} | operation["responses"]
        for name, part in parts.items():
            for kind, content in part.get("content", {}).items():
                if "json" in kind and "example" not in content:
                    lacking.append(f"{method} {path} {name} {kind}")
    assert lacking == []


def test_examples_are_as_the_document_says(document: dict[str, Any]) -> None:
    """Each is valid by its schema, and no field of an example is unknown there."""
    wrong = []
    for method, path, operation in operations(document):
        parts = {"body": operation.get("requestBody", {})} | operation["responses"]
        for name, part in parts.items():
            for content in part.get("content", {}).values():
                if "example" in content:
                    schema = content["schema"] | {"components": document["components"]}
                    wrong += [
                        f"{method} {path} {name}: {error.message}"
                        for error in jsonschema_rs.iter_errors(schema, content["example"])
                    ]
    assert wrong == []


def test_the_page_shows_each_example(document: dict[str, Any]) -> None:
    """It is a command to paste into a terminal, with only the key to fill in."""
    for method, path, operation in operations(document):
        shown = docs._call(method, path, operation)
        assert "curl -sS" in shown
        command = shown.partition("curl -sS")[2].partition("</code>")[0]
        assert "/{" not in command.partition(" -d ")[0], command
        assert (" -d &#x27;{" in command) == ("requestBody" in operation), command
    # A description's code is shown as code.
    assert "`" not in docs._call(*next(iter(operations(document)))).partition("<summary>")[2][:200]
