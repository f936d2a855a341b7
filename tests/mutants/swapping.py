"""Put a changed function in the place of the one that runs, without importing anything anew."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

Codes = dict[str, list[CodeType]]


class CannotSwap(Exception):
    """The change shows only where the file is imported anew."""


def functions_of(files: set[str]) -> dict[str, list[FunctionType]]:
    """Return the living functions of each file, by its absolute name."""
    found: dict[str, list[FunctionType]] = defaultdict(list)
    gc.unfreeze()  # what tests/conftest.py froze is not among the objects
    for each in gc.get_objects():
        # Asking isinstance() would follow weak references, of which some are dead.
        if type(each) is FunctionType and each.__code__.co_filename in files:
            found[each.__code__.co_filename].append(each)
    gc.freeze()
    return found


def codes_in(code: CodeType) -> Codes:
    """Return all that is compiled within it by its qualified name, in the order of the file."""
    found: Codes = defaultdict(list)
    for each in _walk(code):
        found[each.co_qualname].append(each)
    return found


def _walk(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _walk(const)


def swap(path: Path, source: str, function: str, before: Codes, living: list[FunctionType]) -> None:
    """Have each living copy of the function, and what was made within it, run the new source.

    Raises:
        CannotSwap: another variable is closed over, or there is no living copy.
    """
    after = codes_in(compile(source, str(path.absolute()), "exec", dont_inherit=True))
    swapped = False
    for each in living:
        name = each.__code__.co_qualname
        if name != function and not name.startswith(f"{function}.<locals>."):
            continue
        old, new = before[name], after[name]
        if len(old) != len(new) or each.__code__ not in old:
            raise CannotSwap
        code = new[old.index(each.__code__)]
        if code.co_freevars != each.__code__.co_freevars:
            raise CannotSwap
        each.__code__ = code
        swapped |= name == function
    if not swapped:
        raise CannotSwap
