"""Remember the heads of claims that were parsed before.

A site's backend keeps its connections and sends the same head with nearly every claim of a
meeting. Instead of parsing the same bytes again, they are looked up. The key in a head is
checked again for each claim, and only heads with a good key are kept.
"""

from __future__ import annotations

KNOWN_HEAD_BYTES = 1024  # a longer head is parsed each time
# 4 MB with the heads that backends send, 18 MB at most.
HEADS = 4096
HEADS_OF_KEY = 1024  # one more, and the key's heads are forgotten; they are soon known again
_END = b"\r\n\r\n"


class Head:
    """A parsed head: the meeting, the headers, and the size of the head and of its body."""

    __slots__ = ("body_bytes", "headers", "sid", "size_bytes")

    def __init__(
        self, sid: str, headers: list[tuple[bytes, bytes]], size_bytes: int, body_bytes: int
    ) -> None:
        self.sid = sid
        self.headers = headers  # of all its claims; nobody changes them
        self.size_bytes = size_bytes
        self.body_bytes = body_bytes


class KnownHeads:
    """The heads of whole claims that the parser has read, by their bytes."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self._of_key: dict[str, list[bytes]] = {}

    def find(self, data: bytes) -> Head | None:
        """Return the known head that this data begins with, if exactly its body follows."""
        end = data.find(_END) + len(_END)
        head = self._heads.get(data[:end])
        return head if head is not None and len(data) == end + head.body_bytes else None

    def learn(
        self, data: bytes, sid: str, headers: list[tuple[bytes, bytes]], body: bytes, key_id: str
    ) -> None:
        """Remember a head that the parser has read from the beginning of this data.

        `key_id` names the good key it carries: no caller pushes out another caller's heads.
        """
        end = data.find(_END) + len(_END)
        # After a chunked body or a pipelined request, the rest of the data is not the body.
        if (
            not len(_END) <= end <= KNOWN_HEAD_BYTES
            or data[end:] != body
            or data[:end] in self._heads
        ):
            return
        if len(self._heads) >= HEADS:
            # With that many keys in use, each has few heads, which are soon known again.
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
