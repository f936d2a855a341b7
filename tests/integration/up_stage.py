"""Run `linkpool up` with tiny stand-ins for its parts, as a script for test_up_supervision.py.

    up_stage.py up DATA_DIR PORT     runs pool.up.run.run with the stand-ins
    up_stage.py api|worker|sandbox ...    is a stand-in

What happened is appended to the file named by STAGE_EVENTS, one JSON object per line.
STAGE_API=broken makes an API that ends at once; STAGE_API=forking one with a child that
holds its port.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def note(event: str, **facts: object) -> None:
    """Append one event."""
    with Path(os.environ["STAGE_EVENTS"]).open("a") as file:
        file.write(json.dumps({"event": event, "at": time.time(), **facts}) + "\n")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def serve(part: str, port: int) -> None:
    """Answer 200 to everything until SIGTERM."""
    if part == "api" and os.environ.get("STAGE_API") == "broken":
        print("the stand-in is broken", flush=True)
        sys.exit(3)
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    if part == "api" and os.environ.get("STAGE_API") == "forking" and os.fork() == 0:
        server.serve_forever()
    _end_on_sigterm(part)
    server.serve_forever()


def idle(part: str) -> None:
    """Do nothing until SIGTERM."""
    _end_on_sigterm(part)
    while True:
        time.sleep(60)


def _end_on_sigterm(part: str) -> None:
    def end(*_: object) -> None:
        note("stopped", part=part)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    note("started", part=part, pid=os.getpid(), argv=sys.argv[1:])


def up(data_dir: str, port: int) -> int:
    """Run the real thing."""
    from pool.config.settings import Settings, load
    from pool.up import ports
    from pool.up.parts import Commands
    from pool.up.redis_server import answers
    from pool.up.run import Running, run

    def redis_answers(settings: Settings) -> bool:
        password, _, rest = (settings.redis_url or "").removeprefix("redis://:").partition("@")
        return answers(int(rest.partition(":")[2].partition("/")[0]), password)

    def step(name: str) -> Callable[[Settings], None]:
        def happen(settings: Settings) -> None:
            note(
                name,
                redis=redis_answers(settings),
                api=not ports.is_free(port),
                workspaces=sorted(settings.workspaces),
                broker_url=settings.broker_url,
            )
            if os.environ.get("STAGE_SEAL") == "fails" and name == "seal":
                raise RuntimeError("no ledger")

        return happen

    def announce(running: Running) -> None:
        facts = dataclasses.asdict(running) | {"data_dir": str(running.data_dir)}
        note("announced", running=facts)

    parts = ("api", "worker", "sandbox")
    commands = Commands(**{part: (sys.executable, __file__, part) for part in parts})
    return run(
        load(data_dir=data_dir, port=port),
        sids=["demo"],
        prepare=step("prepare"),
        seal=step("seal"),
        announce=announce,
        commands=commands,
    )


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "up":
        sys.exit(up(rest[0], int(rest[1])))
    if role == "api":
        serve(role, int(os.environ["LINKPOOL_PORT"]))
    if role == "sandbox":
        serve(role, int(rest[rest.index("--port") + 1]))
    idle(role)
