"""Probe a blocked workspace, or a blocked meeting: one request finds out whether it still is."""

from __future__ import annotations

from pool.store import Store
from pool.store.records import Block, Level
from pool.supply.planning import Need


class Probing:
    """The probes of one run of top-up. Each is taken by one process only."""

    def __init__(self, workspace: str, store: Store, probe_seconds: float) -> None:
        self._workspace = workspace
        self._store = store
        self._probe_seconds = probe_seconds
        self.block: Block | None = None  # of the workspace, whose probe this run is

    async def rests(self, *, busy: bool) -> bool:
        """Return True if the workspace is blocked and no probe is due. Take a probe that is due.

        None is due while the run is `busy` with a link.
        """
        self.block = await self._store.blocks.of_workspace(self._workspace)
        if self.block is None:
            return False
        now_ms = await self._store.now_ms()
        if busy or not self.block.is_probe_due(now_ms, self._probe_seconds):
            return True
        taken = self.block.probed(now_ms, self._probe_seconds)
        await self._store.blocks.put_workspace(self._workspace, taken)
        return False

    def is_due(self, level: Level) -> bool:
        """Return True if the meeting is blocked and its probe is due."""
        block = level.block
        return block is not None and block.is_probe_due(level.now_ms, self._probe_seconds)

    async def take(self, need: Need) -> bool:
        """Put off the next probe of a blocked meeting.

        Return False if another process has taken this one.
        """
        if self.block is not None:
            return True  # this is the workspace's probe, which is taken already
        blocks, every = self._store.blocks, self._probe_seconds
        block, now_ms = await blocks.of(need.sid), await self._store.now_ms()
        if block is not None:
            if not block.is_probe_due(now_ms, every):
                return False
            await blocks.put(need.sid, block.probed(now_ms, every))
        return True

    async def lift(self) -> None:
        """Lift the workspace's block, since the provider makes links for it again."""
        self.block = None
        await self._store.blocks.put_workspace(self._workspace, None)
