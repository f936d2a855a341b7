"""Test how the client of `linkpool claim` reaches an API."""

from __future__ import annotations

import httpx
import pytest

from pool.cli.batch_client import BatchClient


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://localhost:8000/linkpool", False),
        ("https://links.example.com", True),
    ],
)
def test_a_proxy_of_the_environment_sees_no_key_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, url: str, trusted: bool
) -> None:
    """Another machine may be reached by it alone."""
    asked: list[bool] = []

    def client(*, trust_env: bool, **_: object) -> None:
        asked.append(trust_env)

    monkeypatch.setattr(httpx, "Client", client)
    BatchClient(url, "key", "meeting", patience_seconds=1)
    assert asked == [trusted]
