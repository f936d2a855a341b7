"""Make the mutants of a file: every small change that an operator makes of it, one at a time.

Left alone are annotations, decorators, what is said to people in logs, and, outside functions,
everything but numbers, comparisons and arithmetic (the rest are names, and tables of them).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from tests.mutants import operators

LOGS = re.compile(r"^\s*(log\.|log = )")
LEFT_ALONE = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)
OUTSIDE = (cst.BaseNumber, cst.BinaryOperation, cst.ComparisonTarget, cst.UnaryOperation)


@dataclass(frozen=True, eq=False)
class Mutant:
    """One small change to one file."""

    room: str
    path: Path
    function: str  # as a person names it; empty outside functions
    number: int  # among those of the function that read the same
    line: int
    text: str  # of the function, so that what became of an older one is not believed
    module: cst.Module
    old: cst.CSTNode
    new: cst.CSTNode

    @property
    def name(self) -> str:
        return f"{self.path}: {self.function or '(module)'}"

    @cached_property
    def key(self) -> str:
        """Return a name that stays the mutant's own until its function is changed."""
        old, new = (self.module.code_for_node(each) for each in (self.old, self.new))
        made_of = f"{self.number}\n{self.text}\n{old}\n{new}"
        return f"{self.name} #{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    @cached_property
    def source(self) -> str:
        """Return the whole file with the change made."""
        changed = self.module.deep_replace(self.old, self.new)
        assert isinstance(changed, cst.Module)
        return changed.code

    def change(self) -> str:
        """Return the lines that differ, on one line."""
        before, after = self.module.code.splitlines(), self.source.splitlines()
        while before and after and before[0] == after[0]:
            before, after = before[1:], after[1:]
        while before and after and before[-1] == after[-1]:
            before, after = before[:-1], after[:-1]
        old, new = (" ".join(line.strip() for line in lines) for lines in (before, after))
        return f"`{old}` → `{new}`".replace("|", "\\|")


def of_file(room: str, path: Path) -> list[Mutant]:
    """Return all mutants of a file, in the order of its lines."""
    return of_code(room, path, path.read_text("utf-8"))


def of_code(room: str, path: Path, code: str) -> list[Mutant]:
    wrapper = MetadataWrapper(cst.parse_module(code))
    finder = _Finder(code)
    wrapper.visit(finder)
    numbers: Counter[tuple[str, ...]] = Counter()
    found = []
    for function, text, line, old, new in finder.found:
        reads = function, *(wrapper.module.code_for_node(each) for each in (old, new))
        numbers[reads] += 1
        found.append(
            Mutant(room, path, function, numbers[reads], line, text, wrapper.module, old, new)
        )
    return found


class _Finder(cst.CSTVisitor):
    """Walk a file, and collect each change with the function that it is in."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, code: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, int, cst.CSTNode, cst.CSTNode]] = []
        self._operators = operators.used()
        self._lines = code.splitlines()
        self._names: list[str] = []
        self._functions: list[cst.FunctionDef] = []
        self._text = ""

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, LEFT_ALONE) or self._is_log(node):
            return False
        if isinstance(node, cst.FunctionDef) and not self._functions:
            begin = self._line(node)
            end = self.get_metadata(PositionProvider, node).end.line
            self._text = "\n".join(self._lines[begin - 1 : end])
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            if not self._functions:
                self._names.append(node.name.value)
            if isinstance(node, cst.FunctionDef):
                self._functions.append(node)
        elif self._functions or isinstance(node, OUTSIDE):
            self._change(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef):
            self._functions.pop()
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef) and not self._functions:
            self._names.pop()

    def _change(self, node: cst.CSTNode) -> None:
        function = ".".join(self._names) if self._functions else ""
        for kind, operator in self._operators:
            if isinstance(node, kind):
                for new in operator(node):
                    text = self._text if function else self._lines[self._line(node) - 1]
                    self.found.append((function, text, self._line(node), node, new))

    def _line(self, node: cst.CSTNode) -> int:
        place = self.get_metadata(PositionProvider, node, None)
        return place.start.line if place else 1

    def _is_log(self, node: cst.CSTNode) -> bool:
        return isinstance(node, cst.SimpleStatementLine) and bool(
            LOGS.match(self._lines[self._line(node) - 1])
        )
