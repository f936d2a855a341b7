"""Remember the heads of claims that were parsed before.

A site's backend keeps its connections and sends the same headers with nearly every claim. Instead
of parsing the same bytes again, they are looked up, and so is the line before them, which names the
meeting. The key among the headers is checked again for each claim, and only heads with a good key
are kept.
"""

from __future__ import annotations

KNOWN_HEAD_BYTES = 1024  # a longer head is parsed each time
# 4 MB with the headers that backends send, 18 MB at most.
HEADS = 4096
HEADS_OF_KEY = 1024  # one more, and the key's headers are forgotten; they are soon known again
_LINE = b"POST /v1/meetings/%b/claims HTTP/1.1"
_LINE_END = b"\r\n"
_END = b"\r\n\r\n"

Headers = list[tuple[bytes, bytes]]  # of all claims that send them; nobody changes them


class KnownHeads:
    """The request lines and headers of whole claims that the parser has read, by their bytes."""

    def __init__(self) -> None:
        self._sids: dict[bytes, str] = {}  # by request line: one for each meeting
        self._headers: dict[bytes, tuple[Headers, int]] = {}  # with the size of the body
        self._of_key: dict[str, list[bytes]] = {}

    def find(self, data: bytes) -> tuple[str, Headers, bytes] | None:
        """Return the SID, headers and body of the claim that is all of this data, if known."""
        head, end, body = data.partition(_END)
        line, _, raw = head.partition(_LINE_END)
        sid, known = self._sids.get(line), self._headers.get(raw)
        if sid is None or known is None or len(body) != known[1] or not end:
            return None
        return sid, known[0], body

    def learn(self, data: bytes, sid: str, headers: Headers, body: bytes, key_id: str) -> None:
        """Remember a head that the parser has read from the beginning of this data.

        `sid` names a meeting that exists, and `key_id` the good key among the headers: no caller
        pushes out another caller's headers.
        """
        head, end, rest = data.partition(_END)
        # After a chunked body or a pipelined request, the rest of the data is not the body.
        if not head or not end or len(head) > KNOWN_HEAD_BYTES or rest != body:
            return
        line, _, raw = head.partition(_LINE_END)
        # Any other line, as after an empty one, might say something about the headers behind it.
        if line != _LINE % sid.encode():
            return
        self._sids[line] = sid
        if raw in self._headers:
            return
        if len(self._headers) >= HEADS:
            # With that many keys in use, each has few of them, which are soon known again.
            self._forget(max(self._of_key, key=lambda each: len(self._of_key[each])))
        mine = self._of_key.setdefault(key_id, [])
        if len(mine) >= HEADS_OF_KEY:
            self._forget(key_id)
            mine = self._of_key[key_id] = []
        mine.append(raw)
        self._headers[raw] = headers, len(body)

    def _forget(self, key_id: str) -> None:
        for raw in self._of_key.pop(key_id):
            del self._headers[raw]
