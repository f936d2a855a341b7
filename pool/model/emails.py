"""Check and compare e-mail addresses."""

from __future__ import annotations

import string
import unicodedata

from pool.errors import InvalidRequest

EMAIL_CHARACTERS = 254  # RFC 5321's limit on a path

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def check_email(email: str) -> None:
    """Raise InvalidRequest unless the text could be an e-mail address."""
    name, at, domain = email.rpartition("@")
    plain = email.isprintable() and " " not in email
    if not (name and at and domain and plain and len(email) <= EMAIL_CHARACTERS):
        raise InvalidRequest("invalid email", ["email: not an e-mail address - `$.email`"])


def same_email(email: str) -> str:
    """Return the form in which addresses are compared.

    Unicode NFC, the domain in lower case, the local part with its ASCII letters in lower case,
    and nothing else: `ß` and `ss`, dots and tags make different mailboxes.
    """
    local, at, domain = unicodedata.normalize("NFC", email.strip()).rpartition("@")
    return f"{local.translate(_ASCII_LOWER)}{at}{domain.lower()}"


def kept_forms(email: str) -> set[str]:
    """Return every form in which the ledger may hold this address.

    Until bookings had a table of their own, addresses were case-folded and not normalised.
    That form made `ß` and `ss` the same, so rows found by it must be compared again.
    """
    given = email.strip()
    written = {given, *(unicodedata.normalize(form, given) for form in ("NFC", "NFD"))}
    return {same_email(email), *(each.casefold() for each in written)}
