"""Split a JSON list whose entries may not be strictly valid JSON."""

from __future__ import annotations

import re

_tokens = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}:,]', re.DOTALL)


def entries_of(body: bytes, key: str) -> list[bytes] | None:
    """Return what stands between the commas of the list `key` of an object, in linear time.

    Return None if there is no such list, or it does not end. What is inside an entry is not looked
    at: half of a surrogate pair, NaN, or any depth of brackets.
    """
    name = b'"%b"' % key.encode()
    entries: list[bytes] = []
    depth, begin = 0, -1
    last_but_one = last = b""
    for token in _tokens.finditer(body):
        text = token[0]
        if begin >= 0 and depth == 2 and text in (b",", b"]"):
            entries.append(body[begin : token.start()].strip())
            if text == b"]":
                return [each for each in entries if each]
            begin = token.end()
        elif begin < 0 and depth == 1 and (last_but_one, last, text) == (name, b":", b"["):
            begin = token.end()
        if text in (b"[", b"{"):
            depth += 1
        elif text in (b"]", b"}"):
            depth -= 1
        last_but_one, last = last, text
    return None
