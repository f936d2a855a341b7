"""What the page keeps per API process."""

from __future__ import annotations

from dataclasses import dataclass

from pool.addresses import secret_key
from pool.api.ops.sessions import Sessions
from pool.api.service import Service


@dataclass(frozen=True, slots=True)
class Ops:
    """The page's parts that outlive a request."""

    sessions: Sessions


def open_ops(service: Service) -> Ops:
    """The page of this process."""
    return Ops(Sessions(service.keys, secret_key(service.settings)))
