"""Turn readings of troubles into notices: one when a trouble starts, one when it has ended.

A reading says whether one trouble is there, over, or neither (between the level that starts it
and the level that ends it). It counts once it has held for a while, so that a trouble which
comes and goes causes one notice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec

Sign = Literal["there", "between", "over"]


class Kind(StrEnum):
    """A kind of trouble."""

    LOW = "low runway"
    EMPTY = "empty pool"
    BLOCKED = "blocked provider"
    WORKER = "stuck worker"
    LAG = "growing ledger lag"
    UNMATCHED = "unmatched bookings"
    DEAD = "dead events"
    FENCE = "fence fallen"


# How long a trouble must be there before the first notice, and how long over before the second.
HOLDS_SECONDS: dict[Kind, tuple[float, float]] = {
    Kind.LOW: (15, 60),
    Kind.EMPTY: (10, 0),  # a new pool is empty for a moment
    Kind.BLOCKED: (0, 30),
    Kind.WORKER: (0, 0),
    Kind.LAG: (60, 30),
    Kind.UNMATCHED: (60, 0),  # the recorder may be a moment behind
    Kind.DEAD: (0, 0),
    Kind.FENCE: (0, 30),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of one trouble at this moment."""

    kind: Kind
    about: str  # a SID, the name of a workspace, or nothing
    sign: Sign
    text: str

    @property
    def name(self) -> str:
        """Return the unique name of the trouble."""
        return f"{self.kind}:{self.about}"


class Standing(msgspec.Struct, frozen=True):
    """A trouble that is not simply absent."""

    told: bool  # whether the notice of its start was sent
    turned_ms: int | None  # since when readings contradict the last notice


class Notice(msgspec.Struct, frozen=True):
    """One message to operators."""

    kind: str
    about: str
    started: bool  # False: it ended
    text: str
    at_ms: int

    def body(self) -> dict[str, Any]:
        """Return the JSON body for Slack's incoming webhooks and those compatible with them."""
        where = [("About", self.about)] if self.about else []
        fields = [("Alert", self.kind), *where, ("State", "started" if self.started else "ended")]
        mark = ":red_circle:" if self.started else ":large_green_circle:"
        return {
            "text": f"{mark} linkpool: {_escaped(self.text)}",
            # For receivers that would search the text for names and addresses nevertheless.
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "attachments": [
                {
                    "color": "danger" if self.started else "good",
                    "ts": self.at_ms // 1000,
                    "fields": [
                        {"title": title, "value": _escaped(value), "short": True}
                        for title, value in fields
                    ],
                }
            ],
        }


def step(
    standing: Standing | None, reading: Reading, now_ms: int
) -> tuple[Standing | None, Notice | None]:
    """Return the trouble's state after this reading, and the notice to send, if any."""
    started = standing is not None and standing.told
    contrary = reading.sign == ("over" if started else "there")
    if not contrary:
        # A change that did not last starts over; an absent trouble is forgotten.
        return (Standing(True, None) if started else None), None
    turned_ms = now_ms
    if standing is not None and standing.turned_ms is not None:
        turned_ms = min(standing.turned_ms, now_ms)
    hold_ms = HOLDS_SECONDS[reading.kind][started] * 1000
    if now_ms - turned_ms < hold_ms:
        return Standing(started, turned_ms), None
    notice = Notice(reading.kind, reading.about, not started, reading.text, now_ms)
    return (None if started else Standing(True, None)), notice


# Receivers turn these into mentions and links even without brackets: "@here" (Mattermost and
# others, and Slack if configured so), "https://…", "www.example.com", "[text](address)".
_LIVE = re.compile(r"@|:(?=//)|\](?=\()|(?<=\w)\.(?=[^\W\d])")
_BREAK = "\u200b"  # a zero-width space: it ends a name and is invisible


def _escaped(text: str) -> str:
    """Return the text escaped, since parts of it come from the provider.

    Slack's three control characters are escaped, so no `<!channel>` and no `<address|text>`
    gets through, and texts that would become a mention or a link by themselves are broken up.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LIVE.sub(lambda found: found[0] + _BREAK, text)
