"""Read customers from a CSV file, and write results to another, so that a killed run can resume."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from pool.errors import InvalidRequest

ID, EMAIL, METADATA = "customer_id", "email", "metadata."
RESULTS = ("slug", "url", "status", "error")
_LINE_END = "\r\n"  # so that cells with either of the two are quoted


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input: its cells, and the claim to make of them or what is wrong with it."""

    cells: tuple[str, ...]
    claim: dict[str, Any] | None
    wrong: str = ""


class CustomerFile:
    """A CSV file of customers, in UTF-8, with a header.

    Raise InvalidRequest, which says what is wrong and where, if it is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        header = next(self._lines(), None)
        if header is None:
            raise InvalidRequest(f"{path} is empty; its first line must name the columns")
        self.columns = tuple(name.strip() for name in header)
        self._check_header()
        self.count = sum(1 for _ in self.rows())  # also finds what cannot be read, before any claim

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order, without empty lines."""
        lines = self._lines()
        next(lines)
        for cells in lines:
            yield self._row(tuple(cells))

    def _row(self, cells: tuple[str, ...]) -> Row:
        if len(cells) != len(self.columns):
            wrong = f"the row has {len(cells)} cells, the header {len(self.columns)}"
            whole = (*cells, *[""] * len(self.columns))[: len(self.columns)]
            return Row(whole, None, wrong)
        claim: dict[str, Any] = {}
        metadata = {}
        for name, cell in zip(self.columns, cells, strict=True):
            if name == ID:
                claim[ID] = cell
            elif cell and name == EMAIL:
                claim[EMAIL] = cell.strip()
            elif cell:
                metadata[name.removeprefix(METADATA)] = cell
        return Row(cells, claim | ({"metadata": metadata} if metadata else {}))

    def _check_header(self) -> None:
        if ID not in self.columns:
            separated = next((mark for mark in ";\t|" if mark in "".join(self.columns)), None)
            why = (
                "separate the columns by commas"
                if separated
                else f"the header is {', '.join(self.columns)}"
            )
            raise InvalidRequest(f"{self._path} has no column customer_id: {why}")
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise InvalidRequest(f"{self._path} has the column {name} twice")
            is_metadata = name.startswith(METADATA) and name != METADATA
            if name not in (ID, EMAIL) and not is_metadata:
                raise InvalidRequest(
                    f"{self._path} has the column {name!r}; columns are customer_id, email, and "
                    f"{METADATA}NAME for what else is to be kept with the claim"
                )

    def _lines(self) -> Iterator[list[str]]:
        reader = None
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                for cells in reader:
                    if cells:
                        yield cells
        except UnicodeDecodeError:
            line = reader.line_num + 1 if reader is not None else 1
            raise InvalidRequest(
                f"{self._path} is not UTF-8 after line {line - 1}; save it as CSV in UTF-8"
            ) from None
        except csv.Error as error:
            line = reader.line_num if reader is not None else 1
            raise InvalidRequest(f"{self._path}, line {line}: {error}") from None
        except OSError as error:
            raise InvalidRequest(f"cannot read {self._path}: {error.strerror}") from None


class ResultFile:
    """The CSV file of results: the input's columns, then slug, url, status and error.

    Rows are appended in the order of the input and flushed, so that after any end the file holds
    whole rows and perhaps the beginning of one, which the next run cuts away.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._header = [*columns, *RESULTS]
        self._file: BinaryIO

    def __enter__(self) -> Self:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidRequest(f"cannot write {self._path}: {error.strerror}") from None
        self._file = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InvalidRequest(f"another run is writing {self._path}; wait for it") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def resume(self, rows: Iterator[Row]) -> Iterator[tuple[str, ...]]:
        """Take from `rows` those that stand in the file already, and yield their results.

        Cut away a row that is not whole. Raise InvalidRequest if the file is of another input.
        """
        header_seen = False
        whole_bytes = 0
        for end, cells in self._whole_rows():
            if not header_seen:
                if cells != self._header:
                    raise InvalidRequest(
                        f"{self._path} already exists with other columns; choose another file"
                    )
                header_seen = True
            else:
                row = next(rows, None)
                if row is None or tuple(cells[: len(row.cells)]) != row.cells:
                    raise InvalidRequest(
                        f"{self._path} was written from other rows; choose another file"
                    )
                yield tuple(cells[len(row.cells) :])
            whole_bytes = end
        self._cut(whole_bytes)
        if not header_seen:
            self._write([self._header])

    def append(self, rows: Iterable[tuple[Row, tuple[object, ...]]]) -> None:
        """Write rows with their results, and hand them to the operating system."""
        self._write([*row.cells, *results] for row, results in rows)

    def _cut(self, whole_bytes: int) -> None:
        """Cut off a row that was begun. Refuse a file in which a run cannot have begun it."""
        self._file.seek(whole_bytes)
        if not whole_bytes and not _text([self._header]).startswith(self._file.read()):
            raise InvalidRequest(f"{self._path} already exists and is no result of this command")
        self._file.truncate(whole_bytes)
        self._file.seek(whole_bytes)

    def _write(self, rows: Iterable[Sequence[object]]) -> None:
        self._file.write(_text(rows))
        self._file.flush()

    def _whole_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each whole row, and where it ends. A row ends with a line end outside quotes."""
        self._file.seek(0)
        pending, end = b"", 0
        for line in self._file:
            pending += line
            if not pending.endswith(b"\n") or pending.count(b'"') % 2:
                continue
            end += len(pending)
            try:
                [cells] = csv.reader(io.StringIO(pending.decode(), newline=""), strict=True)
            except (UnicodeDecodeError, csv.Error, ValueError):
                raise InvalidRequest(
                    f"{self._path} already exists and is no result of this command"
                ) from None
            yield end, cells
            pending = b""


def _text(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator=_LINE_END).writerows(rows)
    return text.getvalue().encode()
