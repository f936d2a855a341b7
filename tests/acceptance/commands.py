"""Run commands of `linkpool` against the running product, and check how they end."""

from __future__ import annotations

from typing import Any

from product import Product

DONE, FAILED, WRONG_USAGE, NOT_REACHABLE, NOT_FOUND = 0, 1, 2, 3, 4


def ok(product: Product, *words: str, **more: Any) -> str:
    """Run a command that must succeed. Return its output."""
    done = product.command(*words, **more)
    assert done.returncode == DONE, (words, done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout


def fails(product: Product, code: int, *words: str, **more: Any) -> str:
    """Run a command that must fail with this code. Return its one line on stderr."""
    done = product.command(*words, **more)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr
