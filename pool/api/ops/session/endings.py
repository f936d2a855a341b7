"""Keep track of ended sessions of the page in every API process.

The ledger keeps them. The process that handles a sign-out applies it at once, the others
within seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pool.errors import LedgerUnavailable
from pool.ledger import Ledger


class Endings:
    """Ended sessions: single ones, and all that a key had opened by a certain time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, float] = {}
        # Not yet in the ledger, each with the time after which it no longer matters.
        self._unkept: dict[str, tuple[float, float]] = {}

    def ended(self, session: str, key_id: str, opened_at: float) -> bool:
        """Return True if this session has been ended."""
        return _session(session) in self._known or opened_at <= self._known.get(_key(key_id), 0.0)

    async def end_session(self, session: str, now: float, kept_seconds: float) -> None:
        """End one session. Raise LedgerUnavailable if other processes do not know of it yet."""
        await self._end(_session(session), now, now + kept_seconds)

    async def end_key(self, key_id: str, now: float, kept_seconds: float) -> None:
        """End all sessions of a key. Raise as `end_session`."""
        await self._end(_key(key_id), now, now + kept_seconds)

    async def refresh(self) -> None:
        """Write what is not in the ledger yet, and read what other processes have ended."""
        for name, (ended_at, forget_at) in list(self._unkept.items()):
            await self._keep(name, ended_at, forget_at)
        found = await self._ledger.ended_sessions.all()
        kept = {name: at.timestamp() for name, at in found.items()}
        self._known = kept | {name: at for name, (at, _) in self._unkept.items()}

    async def _end(self, name: str, ended_at: float, forget_at: float) -> None:
        self._known[name] = ended_at
        self._unkept[name] = ended_at, forget_at
        try:
            await self._keep(name, ended_at, forget_at)
        except LedgerUnavailable as error:
            raise LedgerUnavailable(
                f"signed out here only; elsewhere once the database answers ({error})"
            ) from error

    async def _keep(self, name: str, ended_at: float, forget_at: float) -> None:
        # A millisecond later, as the ledger truncates to milliseconds.
        times = (datetime.fromtimestamp(at, UTC) for at in (ended_at, forget_at))
        ended, forget = (each + timedelta(milliseconds=1) for each in times)
        await self._ledger.ended_sessions.add(name, ended, forget)
        self._unkept.pop(name, None)


def _session(number: str) -> str:
    return f"session:{number}"


def _key(key_id: str) -> str:
    return f"key:{key_id}"
