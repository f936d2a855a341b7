"""Define the small changes: mutmut's, less those that change words only, and two more.

Statements that do something are also left out, and conditions turned round, because that is
how the code comes to forget a step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import libcst as cst
from mutmut.mutation import mutators

THEIRS = list(mutators.mutation_operators)


def words(node: cst.SimpleString) -> Iterable[cst.CSTNode]:
    """Change a name or a word; sentences are for people, and one change of a word is enough."""
    if isinstance(node, cst.SimpleString) and " " in node.raw_value:
        return
    yield from list(mutators.operator_string(node))[:1]


def arguments(node: cst.Call) -> Iterable[cst.CSTNode]:
    """Leave each named argument out, and make each other one None."""
    named = [arg for arg in node.args if arg.keyword is not None]
    for arg in named:
        yield node.with_changes(args=[each for each in node.args if each is not arg])
    for arg in node.args:
        if arg.keyword is None and not arg.star and not _is_plain(arg.value):
            changed = arg.with_changes(value=cst.Name("None"))
            yield node.with_changes(args=[changed if each is arg else each for each in node.args])


def steps(node: cst.Expr) -> Iterable[cst.CSTNode]:
    """Leave a call out that is made for its effect."""
    if isinstance(node.value, cst.Call | cst.Await):
        yield cst.Pass()


def conditions(node: cst.If) -> Iterable[cst.CSTNode]:
    """Turn a condition round that has no operator of its own to change."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.Await | cst.NamedExpr):
        inner = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), inner))


def _is_plain(value: cst.BaseExpression) -> bool:
    """Return True if another change is made to it anyway, or None would mean the same."""
    return isinstance(value, cst.SimpleString | cst.FormattedString | cst.BaseNumber) or (
        isinstance(value, cst.Name) and value.value in ("None", "True", "False")
    )


def ours() -> list[Any]:
    """Return the operators that are used."""
    replaced = {mutators.operator_string: words, mutators.operator_arg_removal: arguments}
    same = [(kind, replaced.get(each, each)) for kind, each in THEIRS]
    return [*same, (cst.Expr, steps), (cst.If, conditions)]


def install() -> None:
    """Have mutmut make these changes."""
    mutators.mutation_operators[:] = ours()
