"""Order the trials among the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the trials first: they take longest, and no process is left with them at the end."""
    items.sort(key=lambda item: not item.path.is_relative_to(_HERE))
