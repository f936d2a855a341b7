"""Restart every part one after another while customers claim, and count the claims that fail.

    python -m tests.rolling --rate 2000 --hold 10

Two APIs stand behind HAProxy, which asks /readyz. Each is ended by SIGTERM and started again once
the other serves, then the worker; at the end, an API of two processes replaces them at SIGHUP.
Every tenth claim is of a new customer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from pool.up import ports
from tests.acceptance.product import LINKPOOL, Product, wait_until
from tests.debian import debian
from tests.ending import end, end_all
from tests.steady_crowd import SteadyCrowd

_EXAMPLE = Path(__file__).parents[1] / "deploy" / "proxies" / "haproxy.cfg"


class Pair:
    """Two APIs on a product's Redis and ledger, behind HAProxy."""

    def __init__(self, product: Product, directory: Path) -> None:
        self._product, self._directory = product, directory
        self.apis = {"one": ports.choose(), "two": ports.choose()}
        self.port = ports.choose()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, port: int, workers: int = 1) -> None:
        """Start an API, and return once it is ready."""
        environ = self._product.environ | self._product.environment()
        environ |= {
            "LINKPOOL_PORT": str(port),
            "LINKPOOL_API_WORKERS": str(workers),
            "LINKPOOL_DATA_DIR": str(self._directory / name),
            "LINKPOOL_DATABASE_URL": f"sqlite:///{self._product.data / 'ledger.sqlite3'}",
        }
        with (self._directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*LINKPOOL, "api"], env=environ, cwd=self._directory, stderr=log
            )
        wait_until(lambda: _ready(port), 60, what=f"{name} is ready")

    def restart(self, name: str) -> None:
        """End an API in order, start it again, and return once the proxy uses it, too."""
        end(self._running.pop(name), self._directory / f"{name}.log")
        self.start(name, self.apis[name])
        time.sleep(2.0)  # twice what the proxy lets pass between two checks

    def replace_processes(self, name: str) -> None:
        """Have an API of several processes replace them, and return once it has."""
        log = self._directory / f"{name}.log"
        before = log.read_text().count('"reloaded"')
        self._running[name].send_signal(signal.SIGHUP)
        wait_until(lambda: log.read_text().count('"reloaded"') > before, 120)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Run all of it."""
        config = self._directory / "haproxy.cfg"
        config.write_text("\n".join([*self._example(), ""]))
        try:
            for name, port in self.apis.items():
                self.start(name, port)
            with (self._directory / "haproxy.log").open("ab") as log:
                command = [debian("haproxy"), "-db", "-f", config]
                self._running["haproxy"] = subprocess.Popen(command, stderr=log)
            wait_until(lambda: _ready(self.port), what="the proxy serves")
            yield
        finally:
            end_all(
                (process, self._directory / f"{name}.log")
                for name, process in self._running.items()
            )

    def _example(self) -> Iterator[str]:
        """Yield the lines of our own example, without TLS and for these APIs."""
        for line in _EXAMPLE.read_text("utf-8").splitlines():
            if "bind :443" in line:
                yield f"    bind 127.0.0.1:{self.port}"
            elif "server one" in line:
                for name, port in self.apis.items():
                    yield f"    server {name} 127.0.0.1:{port}"
            else:
                yield line
            if line == "defaults":
                yield from (
                    "    log stderr format raw local0",
                    "    option httplog",
                    "    option dontlog-normal",
                )


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=30).is_success
    except httpx.TransportError:
        return False


def main() -> int:
    """Run it in full size. Return 1 if a claim failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=2000.0, help="claims per second")
    parser.add_argument("--hold", type=float, default=10.0, help="seconds between two restarts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        product = Product(Path(directory) / "up", "demo", PROVIDER_RATE="1000")
        try:
            product.start()
            links = int(options.rate * 2)
            product.put("rolling", min_fresh=links, max_fresh=20 * links, cover_seconds=30)
            return _roll(product, Path(directory), options.rate, options.hold)
        finally:
            product.close()


def _roll(product: Product, directory: Path, rate: float, hold: float) -> int:
    failed = 0
    pair = Pair(product, directory)
    with pair.serving(), SteadyCrowd(pair.port, "rolling", product.key, rate) as crowd:
        steps = [(name, lambda name=name: pair.restart(name)) for name in pair.apis]
        steps.append(("worker", lambda: _restart_part(product, "worker")))
        for what, step in steps:
            time.sleep(hold)
            step()
            print(f"{what} restarted: {_so_far(crowd)}", flush=True)
        time.sleep(hold)
        failed += sum(crowd.failed.values())
    both = ports.choose()
    with pair.serving():
        pair.start("both", both, workers=2)
        with SteadyCrowd(both, "rolling", product.key, rate) as crowd:
            time.sleep(hold)
            pair.replace_processes("both")
            time.sleep(hold)
        print(f"processes replaced: {_so_far(crowd)}", flush=True)
        failed += sum(crowd.failed.values())
    print(f"failed: {failed}")
    if failed:
        print((directory / "haproxy.log").read_text())  # what it says of each failed request
    return 1 if failed else 0


def _so_far(crowd: SteadyCrowd) -> str:
    return (
        f"{crowd.claimed} claimed, {crowd.per_second:,.0f}/s, "
        f"slowest {crowd.slowest_seconds:.2f} s, failed: {crowd.failed}"
    )


def _restart_part(product: Product, part: str) -> None:
    """End a part of `up`, which starts it again."""
    pid = product.pid(part)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: (found := product.pids(part)) and pid not in found, 60)


if __name__ == "__main__":
    raise SystemExit(main())
