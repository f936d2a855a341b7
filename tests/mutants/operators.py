"""Define the small changes: mutmut's, less those that change words only, and some more.

Steps are also left out, conditions turned round, errors not raised, filters taken away, arguments
swapped and nothing returned, because that is how code comes to forget something.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import libcst as cst
from mutmut.mutation import mutators

THEIRS = list(mutators.mutation_operators)
ALIKE = {"where", "and_", "or_", "max", "min", "group_by"}  # whatever their arguments' order


def words(node: cst.SimpleString) -> Iterable[cst.CSTNode]:
    """Change a name or a word; sentences are for people, and one change of a word is enough."""
    if isinstance(node, cst.SimpleString) and " " in node.raw_value:
        return
    yield from list(mutators.operator_string(node))[:1]


def assignments(node: cst.Assign | cst.AnnAssign) -> Iterable[cst.CSTNode]:
    """Remove an assignment, except of a plain value, which another operator changes."""
    if node.value is not None and not (_is_plain(node.value) and not _is_none(node.value)):
        yield from mutators.operator_assignment(node)


def arguments(node: cst.Call) -> Iterable[cst.CSTNode]:
    """Leave each named argument out, make each other one None, and swap the first two."""
    named = [arg for arg in node.args if arg.keyword is not None]
    for arg in named:
        yield node.with_changes(args=[each for each in node.args if each is not arg])
    for arg in node.args:
        if arg.keyword is None and not arg.star and not _is_plain(arg.value):
            changed = arg.with_changes(value=cst.Name("None"))
            yield node.with_changes(args=[changed if each is arg else each for each in node.args])
    if _name_of(node.func) in ALIKE:
        return
    first = [arg for arg in node.args[:2] if arg.keyword is None and not arg.star]
    if len(first) == 2 and not first[0].value.deep_equals(first[1].value):
        one, two = first
        swapped = [one.with_changes(value=two.value), two.with_changes(value=one.value)]
        yield node.with_changes(args=[*swapped, *node.args[2:]])


def _name_of(called: cst.BaseExpression) -> str:
    return called.attr.value if isinstance(called, cst.Attribute) else getattr(called, "value", "")


def steps(node: cst.Expr) -> Iterable[cst.CSTNode]:
    """Leave a call out that is made for its effect."""
    if isinstance(node.value, cst.Call | cst.Await):
        yield cst.Pass()


def refusals(node: cst.Raise | cst.Del) -> Iterable[cst.CSTNode]:
    """Go on where an error is raised, and keep what is deleted."""
    del node
    yield cst.Pass()


def results(node: cst.Return) -> Iterable[cst.CSTNode]:
    """Return nothing where something is returned."""
    if node.value is not None and not _is_plain(node.value):
        yield node.with_changes(value=cst.Name("None"))


def filters(node: cst.CompIf) -> Iterable[cst.CSTNode]:
    """Take a filter away."""
    yield node.with_changes(test=cst.Name("True"))


def conditions(node: cst.If) -> Iterable[cst.CSTNode]:
    """Negate a condition that has no operator of its own to change."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.Await | cst.NamedExpr):
        inner = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), inner))


def _is_plain(value: cst.BaseExpression) -> bool:
    """Return True if another change is made to it anyway, or None would mean the same."""
    return isinstance(value, cst.SimpleString | cst.FormattedString | cst.BaseNumber) or (
        isinstance(value, cst.Name) and value.value in ("None", "True", "False")
    )


OURS: list[Any] = [
    (cst.Expr, steps),
    (cst.Raise, refusals),
    (cst.Del, refusals),
    (cst.Return, results),
    (cst.CompIf, filters),
    (cst.If, conditions),
]


def _is_none(value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.Name) and value.value == "None"


def used() -> list[Any]:
    """Return the operators that are used, each with the kind of node that it changes."""
    replaced: dict[Any, Any] = {
        mutators.operator_string: words,
        mutators.operator_arg_removal: arguments,
        mutators.operator_assignment: assignments,
    }
    return [*((kind, replaced.get(each, each)) for kind, each in THEIRS), *OURS]
