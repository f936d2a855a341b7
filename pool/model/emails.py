"""Compare e-mail addresses."""

from __future__ import annotations

import string
import unicodedata

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


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
