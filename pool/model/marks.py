"""Marks: keyed hashes by which an event is recognised that tells of somebody erased.

Nothing can be read from a mark, and without the secret key none can be made: of an erased
customer only marks are kept. A body's marks are those of every e-mail address in it, of the
booking it is about, and of every text in it that could be an id.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

MARK_BYTES = 8  # with ten million events and as many erased, one in a million is mistaken
PSEUDONYM = "erased-"
MARKS_MAX = 4_096  # of one body

# A short id, or one that is a word, stands in too many other bodies to tell anything.
_TELLING_CHARACTERS = 8
_ID_CHARACTERS = range(4, 257)
_run = re.compile(r"[A-Za-z0-9_-]{4,128}")
_address = re.compile(r"""[^\s<>()\[\],;:"'/?&=@\\]+@[^\s<>()\[\],;:"'/?&=@\\]+""")


class Marks:
    """Makes the marks of one secret key."""

    def __init__(self, secret_key: bytes) -> None:
        self._key = hashlib.sha256(b"linkpool marks\0" + secret_key).digest()

    def of_email(self, address: str) -> str:
        """Return the mark of an e-mail address; case does not count."""
        return self._mark(b"e-mail", _plain(address).casefold())

    def of_booking(self, workspace: str, sid: str) -> str:
        """Return the mark of a booking at the provider."""
        return self._mark(b"booking", f"{workspace}\0{sid}")

    def of_text(self, text: str) -> str:
        """Return the mark of a slug or a customer id, wherever it stands."""
        return self._mark(b"text", _plain(text))

    def of_customer(self, customer_id: str) -> Iterator[str]:
        """Yield the marks by which a customer id is found in what others wrote.

        None for one that is short or has only letters: it would be found everywhere.
        """
        if "@" in customer_id:
            yield self.of_email(customer_id)
        if len(customer_id) >= _TELLING_CHARACTERS and not customer_id.isalpha():
            yield self.of_text(customer_id)

    def pseudonym(self, workspace: str, sid: str) -> str:
        """Return what stands for a booking's SID once its customer is erased.

        The same for the same SID, so that later events of the booking still find its link.
        """
        if sid.startswith(PSEUDONYM):
            return sid
        digest = hashlib.blake2b(
            f"{workspace}\0{sid}".encode("utf-8", "replace"),
            key=self._key,
            digest_size=16,
            person=b"pseudonym",
        )
        return PSEUDONYM + digest.hexdigest()

    def told_by(self, texts: Iterable[str]) -> dict[str, str]:
        """Return mark → text of every address, and everything like an id, in these texts."""
        told: dict[str, str] = {}
        for text in texts:
            # A URL holds an address as zoe%40example.com.
            for reading in dict.fromkeys((text, unquote(text, errors="ignore"))):
                for address in _address.findall(reading):
                    told.setdefault(self.of_email(address.strip(".")), address.strip("."))
                for each in (reading.strip(), *_run.findall(reading)):
                    if len(each) in _ID_CHARACTERS and not each.isalpha():
                        told.setdefault(self.of_text(each), each)
            if len(told) >= MARKS_MAX:
                break
        return told

    def _mark(self, kind: bytes, text: str) -> str:
        digest = hashlib.blake2b(
            text.encode("utf-8", "replace"), key=self._key, digest_size=MARK_BYTES, person=kind
        )
        return digest.hexdigest()


def packed(marks: Iterable[str]) -> bytes:
    """Return marks as the inbox keeps them: one behind the other."""
    return bytes.fromhex("".join(dict.fromkeys(marks)))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())
