"""Select the events that the inbox shows: filtered, searched, a page at a time.

A selection is part of the page's address, which proxies log and browsers remember. So a customer
id or an e-mail that was searched for never stands there: only the links that a customer holds,
and keyed hashes of an e-mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pool.ledger.inbox_search import Named, Sought
from pool.ledger.records import EventState

PAGE_EVENTS = 50
_PAGE_MOST = 10_000
_TEXT_MOST_CHARACTERS = 128
_NAMED_MOST = 50
WITHIN = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7),
          "month": timedelta(days=30)}  # fmt: skip
# What a token of the parameter `of` begins with, and the form of what follows.
_KINDS = {
    "event": ("event_ids", re.compile(r"[0-9a-zA-Z]{1,64}")),
    "booking": ("booking_sids", re.compile(r".{1,128}")),
    "link": ("slugs", re.compile(r"[A-Za-z0-9_-]{1,128}")),
    "email": ("email_keys", re.compile(r"[0-9a-f]{32}")),
    "mark": ("email_marks", re.compile(r"[0-9a-f]{16}")),
}
_WORDS = {"event_ids": "event", "booking_sids": "booking", "slugs": "link"}


@dataclass(frozen=True, slots=True)
class InboxSelection:
    """A viewer's choice. Invalid values count as none: people edit addresses."""

    state: EventState | None = None
    workspace: str = ""
    meeting: str = ""
    event: str = ""
    within: str = ""  # one of WITHIN
    day: str = ""  # as 2026-11-26, in UTC
    named: Named | None = None
    page: int = 1

    @classmethod
    def of(cls, query: str) -> InboxSelection:
        """Return the selection in an address's query."""
        pairs = parse_qsl(query, max_num_fields=200) if query.count("&") < 200 else []
        asked = {name: value.strip()[:_TEXT_MOST_CHARACTERS] for name, value in pairs}
        state, page = asked.get("state", ""), asked.get("page", "")
        return cls(
            EventState(state) if state in set(EventState) else None,
            asked.get("workspace", ""),
            asked.get("meeting", ""),
            asked.get("event", ""),
            asked.get("within", "") if asked.get("within") in WITHIN else "",
            asked.get("day", "") if _day(asked.get("day", "")) else "",
            _named([value for name, value in pairs if name == "of"]),
            min(max(1, int(page)), _PAGE_MOST)
            if page.isascii() and page.isdigit() and len(page) < 7
            else 1,
        )

    @property
    def is_filtered(self) -> bool:
        """Return True if not every event is shown."""
        return replace(self, page=1) != InboxSelection()

    @property
    def narrowed(self) -> bool:
        """Return True if more than the state is chosen."""
        return replace(self, page=1, state=None) != InboxSelection()

    def sought(self, now: datetime) -> Sought:
        """Return what to ask the ledger for at this time."""
        since, until = (now - WITHIN[self.within] if self.within else None), None
        day = _day(self.day)
        if day is not None:
            since, until = max(day, since or day), day + timedelta(days=1)
        return Sought(
            self.state, self.workspace, self.meeting, self.event, since, until, self.named
        )

    def query(self, *, view: str = "", **changes: Any) -> str:
        """Return the query of this selection's address, with the given changes."""
        wanted = replace(self, **changes)
        plain = {
            "view": view,
            "state": wanted.state.value if wanted.state else "",
            "workspace": wanted.workspace,
            "meeting": wanted.meeting,
            "event": wanted.event,
            "within": wanted.within,
            "day": wanted.day,
            "page": wanted.page if wanted.page > 1 else "",
        }
        kept = [(name, value) for name, value in plain.items() if value]
        return urlencode([*kept, *(("of", each) for each in _tokens(wanted.named))])

    def address(self, path: str = "/ops/inbox", *, view: str = "", **changes: Any) -> str:
        """Return the address of this selection, with the given changes."""
        query = self.query(view=view, **changes)
        return f"{path}?{query}" if query else path

    @property
    def tokens(self) -> list[str]:
        """Return the search as the address holds it."""
        return list(_tokens(self.named))

    @property
    def named_words(self) -> str:
        """Return the terms of the search in words, without the text that was typed."""
        if self.named is None:
            return ""
        found = [
            f"{word} {of[0]}" if len(of) == 1 else f"{len(of)} {word}s"
            for name, word in _WORDS.items()
            if (of := getattr(self.named, name))
        ]
        if self.named.email_keys or self.named.email_marks:
            found.append("an e-mail")
        return ", ".join(found) or "nothing that is known"

    @property
    def words(self) -> dict[str, object]:
        """Return the filters as the audit log keeps them."""
        plain = {
            "state": self.state.value if self.state else "",
            "workspace": self.workspace,
            "meeting": self.meeting,
            "kind": self.event,
            "within": self.within,
            "day": self.day,
            "found by": self.named_words,
        }
        return {name: value for name, value in plain.items() if value}


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _named(tokens: list[str]) -> Named | None:
    """Return what the tokens name. A search for an unknown name finds nothing."""
    if not tokens:
        return None
    found: dict[str, list[str]] = {}
    for token in tokens[:_NAMED_MOST]:
        kind, _, value = token.partition(".")
        name, form = _KINDS.get(kind, ("", None))
        if form is not None and form.fullmatch(value) and value.isprintable():
            found.setdefault(name, []).append(value)
    return Named(**{name: tuple(dict.fromkeys(values)) for name, values in found.items()})


def _tokens(named: Named | None) -> Iterator[str]:
    if named is None:
        return
    for kind, (name, _) in _KINDS.items():
        for value in getattr(named, name):
            yield f"{kind}.{value}"
    if not named:
        yield "nothing"
