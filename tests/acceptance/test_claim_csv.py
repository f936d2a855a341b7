"""Test `linkpool claim --csv` against a running API, and with the process killed halfway."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from product import LINKPOOL, clean_environment
from typer.testing import CliRunner

from pool.cli.main import app
from pool.model.meetings import Meeting
from tests.trials.harness.stage import Stage

ADMIN_KEY = "the-admin-key-of-the-test-of-CSV-files"
ROWS = int(os.environ.get("LINKPOOL_CSV_ROWS", "5000"))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """An API without workers, whose pools have a link for each row."""
    with Stage(proxied=False, ADMIN_KEY=ADMIN_KEY, DIRECT_TIMEOUT_SECONDS="0.1") as stage:
        stage.start_servers(1)
        stage.open(Meeting("many", min_fresh=0, max_fresh=1, cover_seconds=0), links=ROWS)
        stage.open(Meeting("few", min_fresh=0, max_fresh=1, cover_seconds=0), links=10)
        yield stage


class Between:
    """A server between the command and the API, which may act before and after each request."""

    def __init__(self, api: str) -> None:
        self.asked: list[list[dict[str, Any]]] = []
        self.before: Callable[[int], None] = lambda _: None
        self.after: Callable[[int], None] = lambda _: None
        self._http = http = httpx.Client(base_url=api, trust_env=False, timeout=60)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked.append(json.loads(body)["claims"])
                number = len(outer.asked)
                outer.before(number)
                answer = http.post(
                    self.path, content=body, headers={"x-api-key": self.headers["x-api-key"]}
                )
                outer.after(number)
                try:
                    self.send_response(answer.status_code)
                    self.send_header("content-length", str(len(answer.content)))
                    self.end_headers()
                    self.wfile.write(answer.content)
                except OSError:
                    self.close_connection = True  # the command was killed

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._http.close()


@pytest.fixture
def between(stage: Stage) -> Iterator[Between]:
    """Run a server in front of the API for this test alone."""
    server = Between(f"http://127.0.0.1:{stage.server_ports[0]}")
    yield server
    server.close()


def start(
    place: Path, url: str, *words: str, meeting: str = "many", key: str = ADMIN_KEY
) -> subprocess.Popen[str]:
    """Start the command on in.csv and out.csv of a folder."""
    environ = clean_environment(KEY=key, URL=url)
    return subprocess.Popen(
        [*LINKPOOL, "claim", "--csv", "in.csv", "--out", "out.csv", "--meeting", meeting, *words],
        cwd=place,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    place: Path, url: str, *words: str, meeting: str = "many", key: str = ADMIN_KEY
) -> tuple[int, str, str]:
    """Run the command to its end in this process. Return its exit code and its output."""
    files = ["--csv", str(place / "in.csv"), "--out", str(place / "out.csv")]
    environ = {"LINKPOOL_KEY": key, "LINKPOOL_URL": url, "NO_PROXY": "*"}
    command = ["claim", *files, "--meeting", meeting, *words]
    done = CliRunner().invoke(app, command, env=environ)
    return done.exit_code, done.stdout, done.stderr


def rows_of(place: Path) -> list[dict[str, str]]:
    """Return the rows of the results."""
    return [*csv.DictReader(io.StringIO((place / "out.csv").read_bytes().decode(), newline=""))]


def test_a_file_killed_twice_ends_with_every_row_once(between: Between, tmp_path: Path) -> None:
    """The command is killed before a batch is answered, after it, and in the middle of a row."""
    customers = [f"order-{number}" for number in range(ROWS)]
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "email", "metadata.note"])
        writer.writerows([each, f"{each}@example.com", 'a "note",\r\nof two'] for each in customers)
    processes: list[subprocess.Popen[str]] = []

    def kill(number: int) -> None:
        if number in (2, 4):
            processes[-1].kill()
            processes[-1].wait()

    between.before = kill  # the second request of each of two runs is never answered to it
    for _ in range(2):
        processes.append(start(tmp_path, between.url))
        processes[-1].communicate(timeout=600)
        assert processes[-1].returncode == -9
        with (tmp_path / "out.csv").open("ab") as out:
            out.write(b'order-1000,order-1000@example.com,"a ""note"",\r\n')  # torn in a cell
    assert len(between.asked) == 4
    code, said, complained = run(tmp_path, between.url)
    assert (code, complained) == (0, "")
    assert said.startswith(f"{ROWS} of {ROWS} customers have a link: ")

    results = rows_of(tmp_path)
    assert [row["customer_id"] for row in results] == customers
    assert len({row["slug"] for row in results}) == ROWS
    assert {row["status"] for row in results} == {"200", "201"}
    assert {row["metadata.note"] for row in results} == {'a "note",\r\nof two'}
    assert all(row["url"].endswith(row["slug"]) and not row["error"] for row in results)
    asked = len(between.asked)
    written = (tmp_path / "out.csv").read_bytes()
    assert run(tmp_path, between.url)[0] == 0
    assert len(between.asked) == asked  # nothing was left to claim
    assert (tmp_path / "out.csv").read_bytes() == written


def test_errors_are_columns_and_what_passes_is_waited_for(
    between: Between, stage: Stage, tmp_path: Path
) -> None:
    """A bad row gets its reason, and an empty pool is waited for after the rows before it are
    written.
    """
    (tmp_path / "in.csv").write_text(
        "\ufeffcustomer_id,email\r\nzoe,zoe@example.com\r\n,\r\n\r\nmax,nobody\r\nmax,a,b\r\n"
        + "".join(f"new-{number},\r\n" for number in range(12)),
        "utf-8",
    )
    waited: list[int] = []

    def refill(number: int) -> None:
        if number == 2:
            waited.append(len(rows_of(tmp_path)))
            stage.stock("few", 5)

    between.before = refill
    code, said, complained = run(tmp_path, between.url, "--json", meeting="few")
    assert code == 1, complained
    assert json.loads(said) == {"rows": 16, "with_link": 13, "without": 3}
    assert "waiting: the pool is empty" in complained
    assert waited == [13]  # ten links, and the three errors
    results = rows_of(tmp_path)
    assert [row["status"] for row in results[:4]] == ["201", "422", "422", "400"]
    assert [row["error"] for row in results[:4]] == [
        "",
        "customer_id is empty; send the visitor's own id, 1 to 256 characters",
        "email: not an e-mail address - `$.email`",
        "the row has 3 cells, the header 2",
    ]
    assert len(between.asked[1]) == 3  # only those who were still without


@pytest.mark.parametrize(
    ("key", "meeting", "code", "names"),
    [
        ("wrong", "many", 2, "unknown, revoked or expired"),
        (ADMIN_KEY, "nowhere", 4, "nowhere"),
        ("", "many", 2, "LINKPOOL_KEY"),
    ],
)
def test_a_refusal_is_one_line(
    between: Between, tmp_path: Path, key: str, meeting: str, code: int, names: str
) -> None:
    """A refusal has an exit code of its own, and no traceback."""
    (tmp_path / "in.csv").write_text("customer_id\nzoe\n")
    found, said, complained = run(tmp_path, between.url, key=key, meeting=meeting)
    assert (found, said) == (code, "")
    assert complained.startswith("linkpool: ")
    assert complained.count("\n") == 1
    assert names in complained


def test_a_silent_api_is_reported_after_the_patience_is_over(tmp_path: Path) -> None:
    """When its patience is over, the command says so and how to continue."""
    (tmp_path / "in.csv").write_text("customer_id\nzoe\n")
    code, _, complained = run(tmp_path, "http://127.0.0.1:9", "--patience-seconds", "0")
    assert code == 3
    assert "does not answer" in complained
    assert "run the command again" in complained
