"""Keep the beginning of the URLs of a workspace's links, as it is set or learned from the provider.

A workspace can have a domain of its own, so its links may begin differently from its API's
address. The first answer with a link, which the provider gave to our key over TLS, shows how;
the ledger keeps it, and a link that differs later raises an alarm. NEETOCAL_LINK_BASE_URL wins.

Code that makes a URL from a slug asks the settings' workspace, which learns the base here. What
is learned is published before the first link is pooled, so that no claim answers another address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from pool.config.settings import Settings
from pool.errors import BadAnswer, LinkpoolError
from pool.ledger import Ledger
from pool.store import Store

log = structlog.get_logger()

_FACT = "link-base:"
# API processes read what was learned once a second.
PUBLISHED_SECONDS = 1.5
_LEDGER_SECONDS = 10.0  # between two looks into the ledger while Redis has nothing


class LinkBases:
    """The link bases of all workspaces, as one process knows them."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        settings: Settings,
    ) -> None:
        self._ledger_asked_at = -_LEDGER_SECONDS
        self._store = store
        self._ledger = ledger
        self._settings = settings
        self._learned: dict[str, str] = {}
        self._learning = asyncio.Lock()

    def learned(self, workspace: str) -> str | None:
        """Return the base that this process has learned, or None if there is none yet."""
        return self._learned.get(workspace)

    async def refresh(self) -> None:
        """Read what was learned, from Redis if it has it, and from the ledger if not.

        The ledger is asked now and then only: most workspaces have nothing to learn. Raise
        StoreUnavailable or LedgerUnavailable; what was known stays.
        """
        found: Mapping[str, str] = await self._store.published.link_bases()
        if not found and time.monotonic() - self._ledger_asked_at >= _LEDGER_SECONDS:
            found = await self._ledger.facts.beginning_with(_FACT)
            self._ledger_asked_at = time.monotonic()
        self._take(found)

    async def publish(self) -> None:
        """Publish to Redis what the ledger knows."""
        kept = await self._ledger.facts.beginning_with(_FACT)
        if kept and kept != await self._store.published.link_bases():
            await self._store.published.put_link_bases(kept)
        self._take(kept)

    async def check(self, workspace: str, url: str, slug: str) -> None:
        """Compare the URL of a link that was just made with what is known. Learn from the first.

        Raise BadAnswer if it begins differently, StoreUnavailable or LedgerUnavailable.
        """
        base = url.removesuffix(f"/{slug}")
        known = self._settings.workspace(workspace)
        if known is None or known.has_link_base:
            return  # it was compared where the answer was read
        if workspace not in self._learned:
            await self._learn(workspace, base)
        if self._learned[workspace] != base:
            raise BadAnswer(
                f"the links of workspace {workspace} begin with {base}, and until now with "
                f"{self._learned[workspace]}; if that is right, set its link base URL",
                maybe_made=True,
            )

    async def _learn(self, workspace: str, base: str) -> None:
        async with self._learning:
            if workspace in self._learned:
                return
            kept = await self._ledger.facts.keep(f"{_FACT}{workspace}", base)
            await self.publish()
            known = self._settings.workspace(workspace)
            if known is not None and kept != known.api_url:
                log.info("learned how links begin", workspace=workspace, base=kept)
                await asyncio.sleep(PUBLISHED_SECONDS)

    def _take(self, found: Mapping[str, str]) -> None:
        for workspace, base in found.items():
            if self._learned.get(workspace) != base:
                self._learned[workspace] = base
                self._settings.learn_link_base(workspace, base)


async def refreshed(bases: LinkBases) -> None:
    """Refresh the bases, or log why they could not be read."""
    try:
        await bases.refresh()
    except LinkpoolError as error:
        log.warning("link bases not read", reason=str(error))
