"""Format tracebacks without the values that error messages quote.

A library's error message quotes its input, which may be a customer id, a slug or a body:
"invalid literal for int(): 'customer-7'", "Key (slug)=(one-off-…) already exists". A log needs
only the place and the kind of the error. linkpool's own errors never quote such values, so
their messages are kept.
"""

from __future__ import annotations

import re
import traceback
from types import TracebackType
from typing import TextIO

from pool.errors import LinkpoolError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

# Quoted text, as repr writes it or unterminated, and the values of a key as PostgreSQL writes them.
_VALUES = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|\Z)|"(?:[^"\\]|\\.)*(?:"|\Z)|=\(.*?\)""", re.DOTALL)


def discreet_message(message: str) -> str:
    """Return the message with … in place of quoted values."""
    return _VALUES.sub(lambda found: "=(…)" if found[0].startswith("=(") else "'…'", message)


def discreet_traceback(exc_info: ExcInfo) -> str:
    """Return the traceback of an error and of its causes, without quoted values."""
    text = "".join(traceback.format_exception(*exc_info)).rstrip()
    for error in _chain(exc_info[1]):
        message = str(error)
        if message and not isinstance(error, LinkpoolError):
            text = text.replace(message, discreet_message(message))
    return text


def write_discreet_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Write the traceback to `stream`, for structlog's console renderer."""
    stream.write("\n" + discreet_traceback(exc_info))


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
            if isinstance(each, BaseExceptionGroup):
                waiting += each.exceptions
    return found
