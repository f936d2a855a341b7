"""Heads of claims that were read before.

A site's backend keeps its connections and sends the same head with nearly every claim of a
meeting. Reading the same bytes again would come to the same: they are looked up instead.
Whether the key in them is still good is asked each time; only heads with a good one are kept.
"""

from __future__ import annotations

KNOWN_HEAD_BYTES = 1024  # a longer one is read each time
# 4 MB as backends send them, 18 at most.
HEADS = 4096
HEADS_OF_KEY = 1024  # beyond them those of its key are forgotten, and soon known again
_END = b"\r\n\r\n"


class Head:
    """What the parser made of a head: whose claim it is, and how much body it announces."""

    __slots__ = ("body_bytes", "headers", "sid", "size_bytes")

    def __init__(
        self, sid: str, headers: list[tuple[bytes, bytes]], size_bytes: int, body_bytes: int
    ) -> None:
        self.sid = sid
        self.headers = tuple(headers)
        self.size_bytes = size_bytes
        self.body_bytes = body_bytes


class KnownHeads:
    """The heads of whole claims that the parser has read, by their bytes."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self._of_key: dict[str, list[bytes]] = {}

    def find(self, data: bytes) -> Head | None:
        """The head with which this data begins, if it is known and nothing but its body follows."""
        end = data.find(_END) + len(_END)
        head = self._heads.get(data[:end])
        return head if head is not None and len(data) == end + head.body_bytes else None

    def learn(
        self, data: bytes, sid: str, headers: list[tuple[bytes, bytes]], body: bytes, key_id: str
    ) -> None:
        """Takes note of a head that the parser has read from the beginning of this data.

        `key_id` is whose key it carries, a good one: no caller pushes out another's heads.
        """
        end = data.find(_END) + len(_END)
        # What came in chunks, or behind another request, is not its body as it stands here.
        if (
            not len(_END) <= end <= KNOWN_HEAD_BYTES
            or data[end:] != body
            or data[:end] in self._heads
        ):
            return
        if len(self._heads) >= HEADS:
            # So many keys are in use that each has only a few heads, and those soon again.
            self._forget(max(self._of_key, key=lambda each: len(self._of_key[each])))
        mine = self._of_key.setdefault(key_id, [])
        if len(mine) >= HEADS_OF_KEY:
            self._forget(key_id)
            mine = self._of_key[key_id] = []
        mine.append(data[:end])
        self._heads[data[:end]] = Head(sid, headers, end, len(body))

    def _forget(self, key_id: str) -> None:
        for head in self._of_key.pop(key_id):
            del self._heads[head]
