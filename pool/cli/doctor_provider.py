"""Report to `linkpool doctor` what the URLs of a workspace's links begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pool.cli.findings import Finding
from pool.compose import Parts
from pool.errors import LinkpoolError


async def link_base(parts: Parts, name: str) -> AsyncIterator[Finding]:
    """Yield what the URLs of this workspace's links begin with, and how that is known."""
    workspace = parts.settings.workspace(name)
    if workspace is None:
        return
    what = f"links of {name}"
    if workspace.has_link_base:
        yield Finding(what, "ok", f"begin with {workspace.link_base_url}, as set")
        return
    try:
        await parts.bases.publish()
    except LinkpoolError:
        return
    learned = parts.bases.learned(name)
    if learned is None:
        yield Finding(
            what, "ok", f"none has been made yet; expected to begin with {workspace.api_url}"
        )
    else:
        yield Finding(what, "ok", f"begin with {learned}, as the provider's answers say")
