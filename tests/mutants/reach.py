"""Mark the blocks of a file, to learn which tests reach which of them.

A mark is one call at the head of a block; unlike tracing, it costs the tests next to nothing.
"""

from __future__ import annotations

import ast
import builtins
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, ModuleType

MARK = "__block_is_reached__"
reached: set[str] = set()  # the blocks since it was last cleared


def blocks(path: Path, code: str) -> list[tuple[int, int, str]]:
    """Return the first and last line of each block within a function, and its name."""
    return [
        (body[0].lineno, max(each.end_lineno or each.lineno for each in body), f"{path}:{line}")
        for body, line in _blocks(ast.parse(code))
    ]


def block_of(line: int, among: list[tuple[int, int, str]]) -> str | None:
    """Return the innermost block that the line is in, or None outside functions."""
    around = [each for each in among if each[0] <= line <= each[1]]
    return min(around, key=lambda each: each[1] - each[0])[2] if around else None


def marked(path: Path, code: str) -> ast.Module:
    """Return the file with a mark at the head of each block."""
    tree = ast.parse(code)
    for body, line in [*_blocks(tree)]:
        mark = ast.parse(f"{MARK}({f'{path}:{line}'!r})").body[0]
        for each in ast.walk(mark):
            ast.copy_location(each, body[0])
        body.insert(1 if ast.get_docstring(ast.Module(body, [])) else 0, mark)
    return tree


def _blocks(tree: ast.Module) -> Iterator[tuple[list[ast.stmt], int]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield function.body, function.body[0].lineno
            yield from _inner(function.body)


def _inner(body: list[ast.stmt]) -> Iterator[tuple[list[ast.stmt], int]]:
    for each in body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        parts = [getattr(each, name, []) for name in ("body", "orelse", "finalbody")]
        parts += [part.body for name in ("handlers", "cases") for part in getattr(each, name, [])]
        for part in parts:
            if part:
                yield part, part[0].lineno
                yield from _inner(part)


class Loader(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Load marked copies of the rooms' files."""

    def __init__(self, files: Mapping[str, Path], make: Callable[[Path], CodeType]) -> None:
        self.files, self._make = files, make

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.files:
            return None
        file = self.files[fullname]
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin=str(file.absolute()), is_package=file.name == "__init__.py"
        )
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(str(file.absolute().parent))
        return spec

    def get_source(self, fullname: str) -> str:
        return self.files[fullname].read_text("utf-8")

    def exec_module(self, module: ModuleType) -> None:
        exec(self._make(self.files[module.__name__]), module.__dict__)

    def install(self) -> None:
        """Make the next imports use this loader."""
        setattr(builtins, MARK, reached.add)
        sys.meta_path.insert(0, self)


def module_name(path: Path) -> str:
    """Return the name that the file has as a module."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def compiled_with_marks(path: Path) -> CodeType:
    tree = marked(path, path.read_text("utf-8"))
    return compile(tree, str(path.absolute()), "exec", dont_inherit=True)
