"""Run webdis, a threaded C server that puts HTTP in front of Redis, with linkpool's own script.

One customer per call, everything in the URL. There is no key check, no validation, no JSON
of ours, no metrics: the practical limit of HTTP in front of one Redis script. The customer's
name in Redis is taken as it comes, which spares webdis the keyed hash.
"""

from __future__ import annotations

import json
import shutil
from urllib.parse import quote_from_bytes

import msgspec

from bench.contestants.base import InRedis
from bench.loads.request import CUSTOMER, Request
from bench.processes import Process
from bench.stage import Stage
from pool.store import key_names, scripts
from pool.up import ports

THREADS = 2


def available() -> bool:
    """Return True if webdis is installed."""
    return shutil.which("webdis") is not None


class Webdis(InRedis):
    """The peer in C, as its package configures it."""

    name = "webdis"
    title = "webdis, the same script"

    def __init__(self, stage: Stage, links_per_second: int) -> None:
        super().__init__(stage, "bench-webdis", links_per_second)
        self._port = ports.choose()

    def start(self) -> None:
        """Start it, and load the script into Redis."""
        self.stage.redis.script_load(scripts.source("claim"))
        directory = self.stage.directory / "webdis"
        directory.mkdir(exist_ok=True)
        config = directory / "webdis.json"
        config.write_text(
            json.dumps(
                {
                    "redis_host": ports.LOOPBACK,
                    "redis_port": self.stage.redis_server.port,
                    "redis_auth": self.stage.redis_server.password,
                    "http_host": ports.LOOPBACK,
                    "http_port": self._port,
                    # As Debian's package sets it. Its connections to Redis are pipelined, so
                    # that more of them than its default do not make it faster.
                    "threads": THREADS,
                    "daemonize": False,
                    "database": 0,
                    "verbosity": 0,
                    "logfile": str(directory / "webdis.out"),
                }
            )
        )
        self.process = Process(["webdis", str(config)], self.stage.log("webdis"), port=self._port)
        self.process.start()

    @property
    def request(self) -> Request:
        """Return GET /EVALSHA/digest/7/keys…/echo/payload."""
        names = [
            key_names.epoch(self.sid),
            key_names.fresh(self.sid),
            key_names.claims(self.sid),
            key_names.meeting(self.sid),
            key_names.demand(self.sid),
            key_names.nudged(self.sid),
            key_names.binding(self.sid, CUSTOMER),
        ]
        payload = msgspec.msgpack.encode((CUSTOMER,))
        parts: list[str | bytes] = ["EVALSHA", scripts.sha1("claim"), "7", *names, "echo", payload]
        path = "/".join(
            quote_from_bytes(part if isinstance(part, bytes) else part.encode(), safe="")
            for part in parts
        )
        return Request(self._port, "GET", f"/{path}")
