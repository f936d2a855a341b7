"""Print the results of commands: JSON for programs, tables and records for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NARROWEST = 16  # characters of a column whose text may be folded


def print_json(value: object) -> None:
    """Print JSON for other programs."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_made(text: object, view: object, *, as_json: bool) -> None:
    """Print what was made: the view as JSON, or for people and pipes the text alone."""
    if as_json:
        print_json(view)
    else:
        sys.stdout.write(f"{text}\n")


def print_views(
    title: str,
    columns: Sequence[str],
    views: Sequence[Mapping[str, object]],
    *,
    as_json: bool,
    whole: Collection[str] = ("id",),
) -> None:
    """Print the views whole as JSON, or these columns of them as a table, as `print_table` does.

    In a table, a list is one text.
    """
    if as_json:
        print_json(views)
    else:
        rows = [[_cell(view[name]) for name in columns] for view in views]
        print_table(title, columns, rows, whole=whole)


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value or ""


def moment(at: datetime | None) -> str | None:
    """Return a time to the second, as lists show it."""
    return at.isoformat(timespec="seconds") if at else None


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    whole: Collection[str] = ("id",),
) -> None:
    """Print a table for people. No cell is read as markup.

    The columns `whole`, which other commands ask for, are never cut or folded. Where a terminal is
    too narrow for a table, each row is printed as a paragraph.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    needed = 1
    for at, column in enumerate(columns):
        longest = max([len(column), *(row[at].cell_len for row in texts)])
        needed += 3 + (longest if column in whole else min(longest, _NARROWEST))
    console = Console()
    if needed > console.width and (console.is_terminal or "COLUMNS" in os.environ):
        _print_paragraphs(console, title, columns, texts, whole)
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=column in whole, overflow="fold")
    for row in texts:
        table.add_row(*row)
    Console(width=max(needed, console.width)).print(table)


def _print_paragraphs(
    console: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Text]],
    whole: Collection[str],
) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(title, "italic"))
    for row in rows:
        for name, cell in zip(columns, row, strict=True):
            if name in whole:
                # Past the edge rather than cut: it is copied from here.
                console.print(Text.assemble((cell.plain, "bold")), soft_wrap=True)
        rest = [
            Text.assemble((f"{name} ", "dim"), cell)
            for name, cell in zip(columns, row, strict=True)
            if name not in whole and cell.plain
        ]
        console.print(Padding(Text("  ").join(rest), (0, 0, 0, 2)))


def print_record(record: Mapping[str, object]) -> None:
    """Print one thing for people: a line for each of its fields that is set."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    longest = max(len(name) for name in record)
    for name, value in record.items():
        if value is None or value == "":
            continue
        text = value if isinstance(value, Text) else Text(str(value))
        console.print(Text.assemble((f"{name:<{longest}}  ", "dim"), text), soft_wrap=True)
