"""Claim for the customers of a CSV file, batch by batch, and write each one's result."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pool.cli.batch_client import BatchClient, Claim, Result
from pool.cli.customer_csv import CustomerFile, ResultFile, Row
from pool.errors import InvalidRequest

_PART_BYTES = 3 * 1024 * 1024  # a request may have 4 MiB
_ROW_BYTES = 64 * 1024  # more than any claim that is accepted


def claim_for_file(
    source: Path,
    out: Path,
    address: str,
    key: str,
    meeting: str,
    *,
    batch_size: int,
    patience_seconds: float,
) -> tuple[int, int]:
    """Claim for each row of `source` that has no result in `out` yet, and write it there.

    Return how many rows have a link, and how many have an error instead. Raise InvalidRequest for
    files that cannot be read or written, and what BatchClient raises.
    """
    counts: Counter[bool] = Counter()
    customers = CustomerFile(source)
    if out.exists() and out.samefile(source):
        raise InvalidRequest("--out is the same file as --csv")
    with ResultFile(out, customers.columns) as results, Bar(customers.count) as bar:
        client = BatchClient(
            address, key, meeting, patience_seconds=patience_seconds, waiting=bar.waiting
        )
        try:
            rows = customers.rows()
            for slug, *_ in results.resume(rows):
                counts[bool(slug)] += 1
                bar.advance(1)
            for part in _parts(rows, batch_size):
                _claim_part(client, part, results, counts, bar)
        finally:
            client.close()
    return counts[True], counts[False]


class Bar:
    """The progress of a run, for people who look at a terminal; others get a line per delay."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self._shown = console.is_terminal
        self._reason = ""
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not self._shown,
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, rows: int) -> None:
        """Advance the bar by this number of rows."""
        self._reason = ""
        self._progress.update(self._task, advance=rows, description="")

    def waiting(self, reason: str) -> None:
        """Show the reason for a delay."""
        if not self._shown and reason != self._reason:
            sys.stderr.write(f"linkpool: waiting: {reason}\n")
        self._reason = reason
        self._progress.update(self._task, description=f"waiting: {reason}")


def _parts(rows: Iterator[Row], most: int) -> Iterator[list[tuple[Row, Claim | Result]]]:
    """Yield the rows in pieces that fit into one request, each with its claim or its error."""
    part: list[tuple[Row, Claim | Result]] = []
    part_bytes = 0
    for row in rows:
        size = len(json.dumps(row.claim)) + 2
        wanted: Claim | Result
        if row.claim is None:
            wanted = Result(400, error=row.wrong)
        elif size > _ROW_BYTES:
            wanted = Result(413, error=f"the row has more than {_ROW_BYTES // 1024} KiB")
        else:
            wanted = row.claim
        if part and (len(part) == most or part_bytes + size > _PART_BYTES):
            yield part
            part, part_bytes = [], 0
        part.append((row, wanted))
        part_bytes += 0 if isinstance(wanted, Result) else size
    if part:
        yield part


def _claim_part(
    client: BatchClient,
    part: list[tuple[Row, Claim | Result]],
    results: ResultFile,
    counts: Counter[bool],
    bar: Bar,
) -> None:
    """Claim for some rows, and write each result once all before it are written."""
    rows = (row for row, _ in part)

    def settled(given: list[Result]) -> None:
        if given:
            results.append((next(rows), each.cells) for each in given)
            counts.update(bool(each.slug) for each in given)
            bar.advance(len(given))

    client.claim([wanted for _, wanted in part], settled)
