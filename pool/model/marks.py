"""Make marks: keyed hashes that recognise events about customers who were erased.

A mark reveals nothing, and none can be made without the secret key, so marks are all that is
kept of an erased customer. The marks of a webhook body are those of every e-mail address in it,
of the booking it is about, and of every text in it that could be an id.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from pool.model.emails import same_email

MARK_BYTES = 8  # with ten million events and erased customers each, one match in a million is wrong
PSEUDONYM = "erased-"
MARKS_MAX = 4_096  # per body
# Before a kept mark: it is only searched for. bytes.fromhex() passes over it.
SOUGHT = " "

# A short id, or one that is a word, occurs in too many unrelated bodies.
_TELLING_CHARACTERS = 8
_ID_CHARACTERS = range(4, 257)
_run = re.compile(r"[A-Za-z0-9_-]{4,128}")
_address = re.compile(r"""[^\s<>()\[\],;:"'/?&=@\\]+@[^\s<>()\[\],;:"'/?&=@\\]+""")


class Marks:
    """Makes the marks of one secret key."""

    def __init__(self, secret_key: bytes) -> None:
        self._key = hashlib.sha256(b"linkpool marks\0" + secret_key).digest()

    def of_email(self, address: str) -> str:
        """Return the mark of an e-mail address, in the form in which addresses are compared."""
        return self._mark(b"address", same_email(address))

    def of_email_before(self, address: str) -> str:
        """Return the mark that earlier releases made of an address.

        They folded its case, so that `ß` and `ss` had one mark. Customers erased then, and
        events kept then, have no other.
        """
        return self._mark(b"e-mail", _plain(address).casefold())

    def kept_of_email(self, address: str) -> set[str]:
        """Return the marks to keep of an erased customer's address.

        The earlier one is only searched for in events: alone it is no sign that they are theirs.
        """
        return {self.of_email(address), SOUGHT + self.of_email_before(address)}

    def of_booking(self, workspace: str, sid: str) -> str:
        """Return the mark of a booking at the provider."""
        return self._mark(b"booking", f"{workspace}\0{sid}")

    def of_text(self, text: str) -> str:
        """Return the mark of a slug or a customer id, wherever it occurs."""
        return self._mark(b"text", _plain(text))

    def of_customer(self, customer_id: str) -> Iterator[str]:
        """Yield the marks to keep of an erased customer's id, which find it in other texts.

        An id that is short or has only letters gets no mark: it would be found everywhere.
        """
        if "@" in customer_id:
            yield from self.kept_of_email(customer_id)
        if len(customer_id) >= _TELLING_CHARACTERS and not customer_id.isalpha():
            yield self.of_text(customer_id)

    def pseudonym(self, workspace: str, sid: str) -> str:
        """Return the replacement for a booking's SID once its customer is erased.

        Equal SIDs get equal pseudonyms, so later events of the booking still find its link.
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

    def in_texts(self, texts: Iterable[str]) -> dict[str, str]:
        """Return the marks of all addresses and possible ids in these texts, each with its text."""
        found: dict[str, str] = {}
        for text in texts:
            # In a URL an address is written zoe%40example.com.
            for reading in dict.fromkeys((text, unquote(text, errors="ignore"))):
                for address in _address.findall(reading):
                    for mark in (self.of_email, self.of_email_before):
                        found.setdefault(mark(address.strip(".")), address.strip("."))
                for each in (reading.strip(), *_run.findall(reading)):
                    if len(each) in _ID_CHARACTERS and not each.isalpha():
                        found.setdefault(self.of_text(each), each)
            if len(found) >= MARKS_MAX:
                break
        return found

    def _mark(self, kind: bytes, text: str) -> str:
        digest = hashlib.blake2b(
            text.encode("utf-8", "replace"), key=self._key, digest_size=MARK_BYTES, person=kind
        )
        return digest.hexdigest()


def packed(marks: Iterable[str]) -> bytes:
    """Return marks concatenated without duplicates, as the inbox stores them."""
    return bytes.fromhex("".join(dict.fromkeys(marks)))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())
