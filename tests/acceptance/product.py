"""Run the real product as its users have it: `linkpool up` as a process, spoken to over HTTP."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from pool.up import ports
from tests.acceptance.stopwatch import Stopwatch
from tests.ending import end
from tests.processes import processes
from tests.warm_commands import WarmCommands

T = TypeVar("T")

LINKPOOL = (sys.executable, "-m", "pool.cli")
START_SECONDS = 120.0  # how long a test waits, not what is promised
# No wait is given up before: its end is for what hangs, and a loaded machine is no fault.
PATIENCE_SECONDS = 60.0
PROBE_SECONDS = 2.0  # between two probes of a broken provider, where a test says so
SLOW = bool(os.environ.get("CI"))  # CI machines may be slow; see the tests that ask

# What tells a part's processes from others', in their command lines.
MARKS = {
    "supervisord": "supervisor.supervisord",
    "redis": "-server 127",
    "api": "-m pool.api",
    "worker": "-m worker worker",
    "beat": "-m worker beat",
    "sandbox": "-m sandbox",
}


def wait_until(
    condition: Callable[[], T], seconds: float = 15.0, *, every: float = 0.0, what: str = ""
) -> T:
    """Wait until `condition` is true, and return what it returns.

    Fail after `seconds`, but never before a minute has passed. Unless `every` sets the interval,
    the condition is checked less and less often, so that a long wait leaves the processor to the
    product.
    """
    seconds = max(seconds, PATIENCE_SECONDS)
    deadline = time.monotonic() + seconds
    pause_seconds = 0.03
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        time.sleep(every or pause_seconds)
        pause_seconds = min(1.15 * pause_seconds, 0.25)
    return found


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this environment without any setting of linkpool's, but with these."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LINKPOOL_", "SANDBOX_"))}
    # Rich tables are as wide as the terminal, and tests look for whole words.
    kept |= {"COLUMNS": "200", "NO_COLOR": "1"}
    # Processes are known by their environment, over which titles would be written.
    kept |= {"SPT_NOENV": "1"}
    return kept | {f"LINKPOOL_{name}": value for name, value in settings.items()}


@functools.cache
def _commands() -> WarmCommands:
    return WarmCommands(clean_environment())


class Product:
    """One data directory with `linkpool up` running on it. `settings` are names without the
    prefix.
    """

    def __init__(self, directory: Path, *meetings: str, **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data = directory / "data"
        self.meetings = meetings
        self.environ = clean_environment(**settings)
        self.port = ports.choose()
        self.url = f"http://127.0.0.1:{self.port}"
        self.said = directory / "stdout"
        self.complained = directory / "stderr"
        self.process: subprocess.Popen[bytes] | None = None
        self.key = ""
        self.sandbox_url = ""
        # The sandbox closes a connection that was idle for 5 seconds, as httpx does by itself; a
        # request that is sent in that moment would find it closed.
        kept = httpx.Limits(keepalive_expiry=2.0)
        self._http = httpx.Client(timeout=20, trust_env=False, limits=kept)

    # -- life

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, directory: Path, environ: Mapping[str, str] | None = None, **settings: str
    ) -> Iterator[Product]:
        """Run one whose meeting `demo` is full; its provider makes 200 links a second.

        `environ` is what is no setting of linkpool's.
        """
        product = cls(directory, "demo", **{"PROVIDER_RATE": "200"} | settings)
        product.environ |= environ or {}
        try:
            product.start()
            # The worker is at work then.
            wait_until(lambda: product.meeting("demo")["fresh"] >= 50, 30, what="demo is full")
            yield product
        finally:
            product.close()

    def launch(self) -> None:
        """Start `linkpool up` and return at once."""
        command = [*LINKPOOL, "up", "--data-dir", str(self.data), "--port", str(self.port)]
        for sid in self.meetings:
            command += ["--meeting", sid]
        with self.said.open("wb") as said, self.complained.open("ab") as complained:
            self.process = subprocess.Popen(
                command, stdout=said, stderr=complained, env=self.environ, cwd=self.directory
            )

    def start(self, within_seconds: float = START_SECONDS) -> float:
        """Start `linkpool up`. Return the seconds until it said that it serves."""
        started = time.monotonic()
        self.launch()
        assert self.process is not None
        while "Ctrl-C stops" not in (said := self.said.read_text()):
            assert self.process.poll() is None, self.complained.read_text()
            assert time.monotonic() - started < within_seconds, self.complained.read_text()
            time.sleep(0.02)
        seconds = time.monotonic() - started
        kept = self.data / "admin.key"
        self.key = self.environ.get("LINKPOOL_ADMIN_KEY") or kept.read_text().strip()
        self.sandbox_url = _said(said, r"Sandbox +(\S+)")
        return seconds

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """End it as Ctrl-C does. Return its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        return end(process, self.complained, *sorted((self.data / "logs").glob("*.log")), how=how)

    def close(self) -> None:
        """Stop the product if it still runs, and close everything."""
        try:
            self.stop()
        finally:
            self._http.close()

    # -- HTTP

    def api(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        url: str | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Call the API with the admin key, or with `key` ("" sends none)."""
        headers = dict(request.pop("headers", {}))
        key = self.key if key is None else key
        if key:
            headers.setdefault("X-API-Key", key)
        return self._http.request(method, (url or self.url) + path, headers=headers, **request)

    def claim(self, sid: str, customer_id: str, **more: Any) -> httpx.Response:
        """Claim a link. `more` goes into the body, except key and url."""
        call = {name: more.pop(name) for name in ("key", "url") if name in more}
        body = {"customer_id": customer_id, **more}
        return self.api("POST", f"/v1/meetings/{sid}/claims", json=body, **call)

    def slug(self, sid: str, customer_id: str, **more: Any) -> str:
        """Return the slug of a claim that must succeed."""
        answer = self.claim(sid, customer_id, **more)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["claim"]["slug"])

    def meeting(self, sid: str) -> dict[str, Any]:
        """Return the state of a meeting."""
        answer = self.api("GET", f"/v1/meetings/{sid}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["meeting"]
        return found

    def link(self, slug: str) -> dict[str, Any]:
        """Return a link as the ledger has it, or an empty dictionary until it is there."""
        answer = self.api("GET", f"/v1/links/{slug}")
        return dict(answer.json()["link"]) if answer.status_code == 200 else {}

    def put(self, sid: str, *, fill: bool = True, **settings: Any) -> dict[str, Any]:
        """Add or change a meeting, and wait until its pool is full."""
        answer = self.api("PUT", f"/v1/meetings/{sid}", json=settings)
        assert answer.status_code in (200, 201), answer.text
        if fill:
            wanted = int(answer.json()["meeting"]["min_fresh"])
            wait_until(lambda: self.meeting(sid)["fresh"] >= wanted, 30, what=f"{sid} is full")
        return self.meeting(sid)

    # -- the sandbox

    def sandbox(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Call the sandbox, as a browser or a test does."""
        return self._http.request(method, self.sandbox_url + path, **request)

    def knobs(self, **changes: Any) -> None:
        """Turn knobs of the sandbox."""
        answer = self.sandbox("PATCH", "/_control/knobs", json=changes)
        assert answer.status_code == 200, answer.text

    @contextlib.contextmanager
    def turned(self, **changes: Any) -> Iterator[None]:
        """Turn knobs of the sandbox, and turn them back at the end of the block."""
        before = self.sandbox("GET", "/_control/knobs").json()["knobs"]
        self.knobs(**changes)
        try:
            yield
        finally:
            self.knobs(**{name: before[name] for name in changes})

    def sandbox_links(self, sid: str) -> list[str]:
        """Return every slug the sandbox made for a meeting."""
        answer = self.sandbox("GET", "/_control/links", params={"meeting_sid": sid})
        return [link["slug"] for link in answer.json()["links"]]

    def control(self, what: str, **body: Any) -> dict[str, Any]:
        """Make the sandbox act: book, cancel, emit… Return its answer.

        Booking a link fills in a form to which the surrounding page gave the slug.
        """
        if what == "book" and body.get("slug"):
            body = {"answers": {"ref": body["slug"]}} | body
        answer = self.sandbox("POST", f"/_control/{what}", json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    # -- the command line, the ledger, the processes

    def command(
        self,
        *words: str,
        seconds: float = 60.0,
        said: str | None = None,
        warm: bool = True,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run `linkpool words…` on this data directory, in an interpreter of its own unless
        `warm`.
        """
        environ = self.environ | {"LINKPOOL_DATA_DIR": str(self.data)} | environ
        if warm:
            return _commands().run(
                words, environ=environ, directory=self.directory, seconds=seconds, said=said
            )
        return subprocess.run(
            [*LINKPOOL, *words],
            env=environ,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=seconds,
            input=said,
            check=False,
        )

    def new_key(self, *words: str) -> str:
        """Return a key made by the command line, once the API knows it."""
        return self.new_keys(words)[0]

    def new_keys(self, *each: tuple[str, ...]) -> list[str]:
        """Return keys made by the command line, once the API knows them."""
        keys = []
        for words in each:
            done = self.command("keys", "create", *words)
            assert done.returncode == 0, done.stderr
            keys.append(done.stdout.strip())
        for key in keys:
            wait_until(lambda key=key: self.api("GET", "/v1/meetings", key=key).status_code != 401)
        return keys

    def environment(self) -> dict[str, str]:
        """Return the settings the parts run with."""
        kept = json.loads((self.data / "up.json").read_text())
        return {str(name): str(value) for name, value in kept.items()}

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds in the ledger's file."""
        path = f"file:{self.data / 'ledger.sqlite3'}?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=10)) as connection:
            return connection.execute(sql, values).fetchall()

    def processes(self) -> dict[int, tuple[int, str]]:
        """Map each process of this data directory except `up` itself to its parent and command."""
        mine = f"LINKPOOL_DATA_DIR={self.data}\0".encode()
        up = frozenset() if self.process is None else frozenset([self.process.pid])
        found = {}
        for pid, parent, command in processes(mine, str(self.data / "redis"), but=up):
            # Where setproctitle is installed, Celery writes a title over its command.
            command = command.replace("[celeryd: linkpool@", f"{MARKS['worker']} [")
            command = command.replace("[celery beat]", MARKS["beat"])
            found[pid] = (parent, command)
        return found

    def stopwatch(self) -> Stopwatch:
        """Return a running stopwatch for what all parts do together."""

        def pids() -> list[int]:
            return [*self.processes(), *([self.process.pid] if self.process is not None else [])]

        return Stopwatch(pids)

    def pids(self, part: str) -> list[int]:
        """Return the processes of a part that have begun their work, its parent first."""
        found = {
            pid: parent
            for pid, (parent, command) in self.processes().items()
            if MARKS[part] in command and "leash.py" not in command
        }
        return sorted(found, key=lambda pid: (found[pid] in found, pid))

    def pid(self, part: str) -> int:
        """Return the process of a part, or the first of several."""
        return wait_until(lambda: self.pids(part), 20, what=f"{part} runs")[0]


def _said(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found, text
    return found[1]


def signed(product: Product, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook, as the provider signs it."""
    secret = product.environment()["LINKPOOL_NEETOCAL_WEBHOOK_SECRET"].encode()
    digest = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {"x-neeto-webhook-signature": f"sha256={digest}"}
