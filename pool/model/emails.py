"""When two e-mail addresses are taken for one."""

from __future__ import annotations

import string
import unicodedata

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def same_email(email: str) -> str:
    """Return the form in which addresses are compared.

    Unicode NFC, the domain in lower case, the local part with its ASCII letters in lower case,
    and nothing cleverer: `ß` and `ss`, dots and tags make different mailboxes.
    """
    local, at, domain = unicodedata.normalize("NFC", email.strip()).rpartition("@")
    return f"{local.translate(_ASCII_LOWER)}{at}{domain.lower()}"


def kept_forms(email: str) -> set[str]:
    """Return every form under which a row may be kept whose address is the same as this one.

    Until bookings had a table of their own, addresses were case-folded and not normalised;
    what such a row turns up for must be compared again, since that form made `ß` and `ss` one.
    """
    given = email.strip()
    written = {given, *(unicodedata.normalize(form, given) for form in ("NFC", "NFD"))}
    return {same_email(email), *(each.casefold() for each in written)}
