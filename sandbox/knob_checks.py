"""Check whether a knob can take a value, and read the texts of knobs that hold lists."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

KnobValue = bool | int | float | str


class KnobError(Exception):
    """A knob that does not exist, or a value it cannot take; `knob` names it."""

    def __init__(self, knob: str, problem: str) -> None:
        super().__init__(f"{knob}: {problem}")
        self.knob = knob


@lru_cache(maxsize=64)
def listed(text: str) -> frozenset[str]:
    """Return the parts of a comma-separated text."""
    return frozenset(filter(None, map(str.strip, text.split(","))))


@lru_cache(maxsize=64)
def mapped(text: str) -> Mapping[str, str]:
    """Return the pairs of a comma-separated text of KEY=VALUE; of a repeated key the last."""
    pairs = (part.partition("=") for part in map(str.strip, text.split(",")) if part)
    return MappingProxyType({key: value for key, _, value in pairs})


def checked_value(name: str, value: object, kind: type, metadata: Mapping[str, Any]) -> KnobValue:
    """Return `value` as the knob keeps it. Raise KnobError."""
    if kind is bool:
        if not isinstance(value, bool):
            raise KnobError(name, "takes true or false")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise KnobError(name, "takes a text")
        if not metadata["form"] and metadata["choices"] and value not in metadata["choices"]:
            raise KnobError(name, f"takes one of {', '.join(metadata['choices'])}")
        # Some texts become headers, where a line break or non-ASCII would break the answer.
        if not value.isascii() or (value and not value.isprintable()):
            raise KnobError(name, "takes printable ASCII only")
        return _formed(name, value, metadata)
    # bool is an int in Python, but not a number to the user.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KnobError(name, "takes a number")
    if kind is int and not isinstance(value, int):
        raise KnobError(name, "takes a whole number")
    if isinstance(value, float) and not math.isfinite(value):
        raise KnobError(name, "takes a finite number")
    if not metadata["low"] <= value <= metadata["high"]:
        raise KnobError(name, f"takes {_span(metadata['low'], metadata['high'])}")
    if name == "fail_status" and 0 < value < 200:
        raise KnobError(name, "takes 0 or a status from 200 to 599")
    return value if kind is int else float(value)


def _span(low: float, high: float) -> str:
    return f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"


def _formed(name: str, value: str, metadata: Mapping[str, Any]) -> str:
    """Check the parts of a text that is a list or an address."""
    form, choices = metadata["form"], metadata["choices"]
    if form == "url":
        if value and not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", value):
            raise KnobError(name, "takes a URL that begins with http:// or https://")
        return value.rstrip("/")
    if form == "list" and choices:
        wrong = listed(value) - set(choices)
        if wrong:
            raise KnobError(name, f"{min(wrong)!r} is none of {', '.join(choices)}")
    if form == "map":
        for part in filter(None, map(str.strip, value.split(","))):
            sid, _, how = part.partition("=")
            status = "STATUS" in choices and re.fullmatch("[2-5][0-9][0-9]", how)
            if not sid or not (status or how in choices) or how == "STATUS":
                raise KnobError(name, f"{part!r} is not SID={'|'.join(choices)}")
    return value
