"""Read lengths of time from the command line: numbers in the option's own unit, or words."""

from __future__ import annotations

import math
from collections.abc import Callable

from pydantic_core import PydanticCustomError

from pool.errors import InvalidRequest
from pool.model.durations import as_number


def length(
    unit: str = "seconds", *, least: float = 0, most: float = math.inf, whole: bool = True
) -> Callable[[str | float], float]:
    """Return a parser for typer: of a number of these units, or of words such as 30 days."""

    def parse(given: str | float) -> float:
        try:
            number = as_number(given, unit, whole=whole)
        except InvalidRequest as error:
            raise _refused(str(error)) from None
        if number < least:
            raise _refused(f"at least {least:,g} {unit} are needed")
        if number > most:
            raise _refused(f"at most {most:,g} {unit} are allowed")
        return number

    return parse


def _refused(problem: str) -> PydanticCustomError:
    # Of any other error the terminal would say its kind, too.
    return PydanticCustomError("length_of_time", "{problem}", {"problem": problem})
