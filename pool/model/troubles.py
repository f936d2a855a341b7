"""Troubles and the notices of them: one when a trouble starts, one when it has ended.

A reading says of one trouble whether it is there, over, or neither (between the level that
raises it and the one that ends it). It is believed once it held for a while, so that what
comes and goes is told once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec

Sign = Literal["there", "between", "over"]


class Kind(StrEnum):
    """What can be wrong."""

    LOW = "low runway"
    EMPTY = "empty pool"
    BLOCKED = "blocked provider"
    WORKER = "stuck worker"
    LAG = "growing ledger lag"
    UNMATCHED = "unmatched bookings"
    DEAD = "dead events"
    FENCE = "fence fallen"


# How long a trouble must be there before it is told of, and how long over.
HOLDS_SECONDS: dict[Kind, tuple[float, float]] = {
    Kind.LOW: (15, 60),
    Kind.EMPTY: (10, 0),  # a pool just added is empty for a moment
    Kind.BLOCKED: (0, 30),
    Kind.WORKER: (0, 0),
    Kind.LAG: (60, 30),
    Kind.UNMATCHED: (60, 0),  # the recorder may be a moment behind the visitor
    Kind.DEAD: (0, 0),
    Kind.FENCE: (0, 30),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One trouble, as it looks now."""

    kind: Kind
    about: str  # a SID, the name of a workspace, or nothing
    sign: Sign
    text: str

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.kind}:{self.about}"


class Standing(msgspec.Struct, frozen=True):
    """A trouble that is not simply absent."""

    told: bool  # its start was told
    turned_ms: int | None  # since when readings say the contrary of what was told


class Notice(msgspec.Struct, frozen=True):
    """One message to operators."""

    kind: str
    about: str
    started: bool  # or ended
    text: str
    at_ms: int

    def body(self) -> dict[str, Any]:
        """As Slack's incoming webhooks, and what is compatible with them, take it."""
        where = [("About", self.about)] if self.about else []
        fields = [("Alert", self.kind), *where, ("State", "started" if self.started else "ended")]
        mark = ":red_circle:" if self.started else ":large_green_circle:"
        return {
            "text": f"{mark} linkpool: {_escaped(self.text)}",
            # A receiver that would look for names and addresses all the same must not.
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
    """How the trouble stands after this reading, and what is to be told, if anything."""
    told = standing is not None and standing.told
    contrary = reading.sign == ("over" if told else "there")
    if not contrary:
        # What began to turn and turned back begins anew; an absent trouble is forgotten.
        return (Standing(True, None) if told else None), None
    turned_ms = now_ms
    if standing is not None and standing.turned_ms is not None:
        turned_ms = min(standing.turned_ms, now_ms)
    hold_ms = HOLDS_SECONDS[reading.kind][told] * 1000
    if now_ms - turned_ms < hold_ms:
        return Standing(told, turned_ms), None
    notice = Notice(reading.kind, reading.about, not told, reading.text, now_ms)
    return (None if told else Standing(True, None)), notice


# What receivers make mentions and links of without any brackets: "@here" (Mattermost and
# others, and Slack where it is set so), "https://…", "www.example.com", "[text](address)".
_LIVE = re.compile(r"@|:(?=//)|\](?=\()|(?<=\w)\.(?=[^\W\d])")
_BREAK = "\u200b"  # a space without a width: it ends a name, and nobody sees it


def _escaped(text: str) -> str:
    """Return the text as plain text: parts of it are the provider's words.

    Slack's three control characters are escaped, so no `<!channel>` and no `<address|text>`
    gets through, and what becomes a mention or a link by itself is broken up.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LIVE.sub(lambda found: found[0] + _BREAK, text)
