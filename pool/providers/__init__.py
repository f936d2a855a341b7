"""Talk to scheduling providers over HTTP. Of `pool`, only alerting/webhook.py also sends HTTP."""

from __future__ import annotations

import httpx

from pool.config.settings import Workspace
from pool.providers.base import (
    BookingEvent,
    BookingPage,
    EventKind,
    NewLink,
    Observe,
    Provider,
    ProviderMeeting,
)
from pool.providers.neetocal import NeetoCal
from pool.providers.verifying import Verifier

__all__ = [
    "BookingEvent",
    "BookingPage",
    "EventKind",
    "NewLink",
    "Observe",
    "Provider",
    "ProviderMeeting",
    "Verifier",
    "open_provider",
]


def open_provider(
    workspace: Workspace,
    *,
    timeout_seconds: float,
    observe: Observe | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Provider:
    """Return the provider of this workspace. The caller closes it.

    `timeout_seconds` bounds each request from its start to the last byte of its answer;
    `transport` replaces the network in tests.
    """
    match workspace.provider:
        case "neetocal":
            return NeetoCal(
                workspace, timeout_seconds=timeout_seconds, observe=observe, transport=transport
            )
