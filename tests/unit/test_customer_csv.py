"""Test the files of `linkpool claim --csv`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.cli.customer_csv import CustomerFile, ResultFile, Row
from pool.errors import InvalidRequest

HEADER = b"customer_id,slug,url,status,error\r\n"


def customers(path: Path, data: bytes) -> CustomerFile:
    """Return a file with this content."""
    path.write_bytes(data)
    return CustomerFile(path)


def test_cells_become_a_claim(tmp_path: Path) -> None:
    """Empty cells are left out, and empty lines are no rows."""
    found = customers(
        tmp_path / "in.csv",
        "\ufeffcustomer_id, email ,metadata.plan,metadata.\U0001f600\r\n"
        'a,a@b.example,"x, ""y""\nz",1\r\n\r\nb,,,\r\nc\r\n'.encode(),
    )
    assert found.count == 3
    assert [row.claim for row in found.rows()] == [
        {
            "customer_id": "a",
            "email": "a@b.example",
            "metadata": {"plan": 'x, "y"\nz', "\U0001f600": "1"},
        },
        {"customer_id": "b"},
        None,
    ]
    assert [row.wrong for row in found.rows()][2] == "the row has 1 cells, the header 4"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"id,email\n", "no column customer_id: the header is id, email"),
        (b"customer_id;email\n", "separate the columns by commas"),
        (b"customer_id,name\n", "has the column 'name'"),
        (b"customer_id,metadata.\n", "has the column 'metadata.'"),
        (b"customer_id,email,email\n", "has the column email twice"),
        (b"customer_id\na\nZo\xeb\n", "is not UTF-8"),
        ("customer_id\na\n".encode("utf-16"), "is not UTF-8"),
        (b'customer_id\na\n"b\n', "line 3: unexpected end of data"),
        (b'customer_id\na\n"b"c\n', "line 3:"),
        (b"customer_id\n" + b"x" * 200_000 + b"\n", "field larger"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    """The error has the reason and the place, and comes before any claim."""
    with pytest.raises(InvalidRequest, match=r"in\.csv") as raised:
        customers(tmp_path / "in.csv", data)
    assert says in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The line says which file could not be read."""
    with pytest.raises(InvalidRequest, match=r"cannot read .*in\.csv: No such file"):
        CustomerFile(tmp_path / "in.csv")


def row(customer_id: str) -> Row:
    """Return a row of one cell."""
    return Row((customer_id,), {"customer_id": customer_id})


@pytest.mark.parametrize("torn_bytes", range(1, len(b'"b\r\n""x""",slug,url,201,\r\n')))
def test_a_row_torn_at_any_byte_is_written_again(tmp_path: Path, torn_bytes: int) -> None:
    """Whole rows stay, and every row is there once in the end."""
    path = tmp_path / "out.csv"
    whole = HEADER + b"a,one,u,201,\r\n"
    torn = b'"b\r\n""x""",slug,url,201,\r\n'
    path.write_bytes(whole + torn[:torn_bytes])
    rows = iter([row("a"), row('b\r\n"x"'), row("c")])
    with ResultFile(path, ["customer_id"]) as results:
        assert [*results.resume(rows)] == [("one", "u", "201", "")]
        results.append((each, ("slug", "url", 201, "")) for each in rows)
    assert path.read_bytes() == whole + torn + b"c,slug,url,201,\r\n"


@pytest.mark.parametrize("size", range(len(HEADER)))
def test_a_torn_header_is_written_again(tmp_path: Path, size: int) -> None:
    """A run that was killed at its very beginning left nothing to go on with."""
    path = tmp_path / "out.csv"
    path.write_bytes(HEADER[:size])
    with ResultFile(path, ["customer_id"]) as results:
        assert [*results.resume(iter([]))] == []
    assert path.read_bytes() == HEADER


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (b"my only copy of something", "is no result of this command"),
        (b'a "quote that never ends\nand more\n', "is no result of this command"),
        (b"\xff\xfe\n", "is no result of this command"),
        (b"customer_id,email\r\na,b\r\n", "already exists with other columns"),
        (HEADER + b"z,one,u,201,\r\n", "written from other rows"),
        (HEADER + b"a,one,u,201,\r\nb,two,u,201,\r\n", "written from other rows"),
    ],
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, there: bytes, says: str) -> None:
    """It is neither overwritten nor added to."""
    path = tmp_path / "out.csv"
    path.write_bytes(there)
    with ResultFile(path, ["customer_id"]) as results, pytest.raises(InvalidRequest, match=says):
        [*results.resume(iter([row("a")]))]
    assert path.read_bytes() == there


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    """The second is refused while the first one runs."""
    path = tmp_path / "out.csv"
    with (
        ResultFile(path, ["customer_id"]),
        pytest.raises(InvalidRequest, match="another run"),
        ResultFile(path, ["customer_id"]),
    ):
        pass
    with ResultFile(path, ["customer_id"]):
        pass
