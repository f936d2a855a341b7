"""Ask a provider at once whether it makes links again, and put its answer into words.

First comes the list of meetings, which changes nothing there; then, for a meeting that may have
links, one link, which enters the pool as any other. Both take their turns of the request budget.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from pool.errors import Fenced, InvalidRequest, ProviderError
from pool.ledger import Ledger
from pool.model.meetings import Meeting
from pool.operations.words import count_words
from pool.providers import ProviderMeeting
from pool.store import Store
from pool.supply.link_maker import LinkMaker
from pool.supply.pool_writer import make_and_pool

_TURN_SECONDS = 2.0
_AT_ONCE_SECONDS = 0.1
NO_TURN = "the request budget allows no question now; try again in some seconds"


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer in words; `works` if it makes links, as far as it was asked."""

    words: str
    works: bool = False


class Trial:
    """Tries one workspace's provider. Every method raises StoreUnavailable."""

    def __init__(self, store: Store, ledger: Ledger, maker: LinkMaker) -> None:
        self._store = store
        self._ledger = ledger
        self._maker = maker

    async def meeting(self, meeting: Meeting) -> Answer:
        """Ask for a link of this meeting, and lift the blocks if there is one.

        Raise InvalidRequest if the budget allows no question now, and LedgerUnavailable.
        """
        try:
            listed, seconds = await self._list()
        except ProviderError as error:
            return Answer(f"The provider was asked for its meetings: {error}. {_STAYS}")
        there = next((each for each in listed if each.sid == meeting.sid), None)
        if there is not None and there.disabled:
            return Answer(
                f"The provider answered {_after(seconds)} and lists this meeting as disabled. "
                f"Enable it there. {_STAYS}"
            )
        if meeting.paused:
            return Answer(
                f"The provider answered {_after(seconds)}. The meeting is paused here, so no link "
                "was asked for.",
                works=True,
            )
        if meeting.closed_reason and there is not None:
            return Answer(
                f"The provider answered {_after(seconds)} and lists this meeting as enabled. "
                "linkpool opens it again at its next look, within about a minute.",
                works=True,
            )
        missing = "" if there is not None else " It does not list this meeting."
        answer = await self._one_link(meeting)
        return Answer(f"The provider answers.{missing} {answer.words}", answer.works)

    async def workspace(self) -> Answer:
        """Ask for the list of meetings, and have a worker ask for a link if that is answered.

        Raise as `meeting`.
        """
        try:
            listed, seconds = await self._list()
        except ProviderError as error:
            return Answer(f"The provider was asked for its meetings: {error}. {_STAYS}")
        answered = (
            f"The provider answered {_after(seconds)}: it accepts the key and lists "
            f"{count_words(len(listed), 'meeting')}."
        )
        name = self._maker.workspace
        block = await self._store.blocks.of_workspace(name)
        if block is None:
            return Answer(f"{answered} The workspace is not blocked.", works=True)
        due = msgspec.structs.replace(block, probe_at_ms=0)
        await self._store.blocks.put_workspace(name, due)
        return Answer(
            f"{answered} A worker asks for a link now; if it gets one, the block is lifted.",
            works=True,
        )

    async def _list(self) -> tuple[list[ProviderMeeting], float]:
        await self._turn()
        began = time.monotonic()
        listed = await self._maker.provider.meetings()
        return listed, time.monotonic() - began

    async def _turn(self) -> None:
        if not await self._maker.wait_turn(within_seconds=_TURN_SECONDS):
            raise InvalidRequest(NO_TURN)

    async def _one_link(self, meeting: Meeting) -> Answer:
        await self._turn()
        began = time.monotonic()
        try:
            pooled = await make_and_pool(
                self._maker, self._store, self._ledger, meeting.sid, pools=meeting.pools, probe=True
            )
        except Fenced:
            return Answer("The pool is being recovered, so no link was asked for.")
        except ProviderError as error:
            return Answer(f"Asked for one link: {error}. {_STAYS}")
        await self._maker.received(meeting.sid, is_new=pooled != "duplicate")
        if pooled == "duplicate":
            return Answer(f"Asked for one link, it gave one that it had given before. {_STAYS}")
        # What top-up does after a probe: a link disproves both blocks.
        await self._store.blocks.put(meeting.sid, None)
        await self._store.blocks.put_workspace(meeting.workspace, None)
        seconds = time.monotonic() - began
        where = "is in the pool" if pooled == "added" else "was set aside: Redis hesitated"
        return Answer(
            f"It made a link {_after(seconds)}, which {where}. The block is lifted.", works=True
        )


def _after(seconds: float) -> str:
    return "at once" if seconds < _AT_ONCE_SECONDS else f"after {seconds:.1f} s"


_STAYS = "The block stays, and the provider is asked again by itself."
