"""Which routes the running linkpool documents: tests of later ones wait until they are there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.product import Product


def need(product: Product, method: str, path: str, *, parameter: str | None = None) -> None:
    """Skip the test where linkpool has no such route, or no such parameter of it."""
    missing = absent(product, method, path, parameter=parameter)
    if missing:
        pytest.skip(missing)


def absent(product: Product, method: str, path: str, *, parameter: str | None = None) -> str:
    """Return what is missing, or nothing."""
    document: dict[str, Any] = product.api("GET", "/openapi.json", key="").json()
    operation = document["paths"].get(path, {}).get(method.lower())
    if operation is None:
        return f"this linkpool has no {method} {path} yet"
    names = [each.get("name") for each in operation.get("parameters", [])]
    if parameter is not None and parameter not in names:
        return f"{method} {path} of this linkpool takes no {parameter} yet"
    return ""
