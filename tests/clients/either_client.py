"""Give both Python clients one blocking interface, so that each test holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from linkpool_client import AsyncClient, Client

KEY = "lp_1a2b3c4d_a-key-that-nobody-may-read-in-a-log"
NewClient = Callable[..., Any]


class Blocking:
    """An AsyncClient whose methods block, all on one event loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*args, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            async def made() -> Any:
                return await method(*args, **options)

            return self._runner.run(made())

        return call

    def __repr__(self) -> str:
        return repr(self._client)

    def close(self) -> None:
        """Close the client and its loop."""
        self._runner.run(self._client.aclose())
        self._runner.close()


KINDS = {"sync": Client, "async": Blocking}
