"""Run a trial with RabbitMQ as broker, which is killed and comes back.

    .venv/bin/python -m tests.trials --only rabbitmq --seed 1

Not in the suite: RabbitMQ takes ten seconds to start. Debian's package is enough.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.processes import Process
from pool.up import ports
from tests.trials.crashes import crowd_of, topped_up
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import until
from tests.trials.harness.lacking import Lacking
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.ledger_troubles import event, send

_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on PATH changes the user
_START_SECONDS = 120.0
_WAIT_SECONDS = 90.0


class RabbitMq:
    """A broker of this trial alone."""

    def __init__(self) -> None:
        """Raise Lacking if it is not installed."""
        if not _PROGRAM.exists():
            raise Lacking("RabbitMQ: apt-get install rabbitmq-server")
        self.directory = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self.port, names = ports.choose(), ports.choose()
        (self.directory / "plugins").write_text("[].")
        environ = dict(os.environ) | {
            "HOME": str(self.directory),  # where the cookie is
            "RABBITMQ_NODENAME": f"trial{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(ports.choose()),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
            "ERL_EPMD_PORT": str(names),
        }
        self._process = Process([str(_PROGRAM)], self.directory / "said", environ=environ)

    @property
    def url(self) -> str:
        """Return its address."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//".removesuffix("/")

    def start(self) -> None:
        """Start it. Return once it says that it serves."""
        said = self.directory / "said"
        before = said.read_text().count("completed with") if said.exists() else 0
        self._process.start()
        until(
            lambda: said.read_text().count("completed with") > before, _START_SECONDS,
            lambda: f"RabbitMQ starts: {said.read_text()[-500:]}",
        )  # fmt: skip

    def kill(self) -> None:
        """Kill it without a farewell."""
        self._process.stop(signal.SIGKILL)

    def close(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class RabbitStage(Stage):
    """The ordinary stage with another broker."""

    rabbit: RabbitMq


@contextmanager
def with_rabbit(seed: int) -> Iterator[RabbitStage]:
    """Run everything, with RabbitMQ between beat, API and worker."""
    rabbit = RabbitMq()
    try:
        rabbit.start()
        with RabbitStage(seed=seed, BROKER_URL=rabbit.url) as stage:
            stage.rabbit = rabbit
            stage.start_servers(2)
            stage.start_sandbox()
            stage.start_worker()
            yield stage
    finally:
        rabbit.close()


def killed(stage: RabbitStage, seed: int, size: int) -> Outcome:
    """rabbitmq: the broker is killed `size` times under load. Claims go on; once it is back,
    workers sweep again, pools are topped up, claims are recorded and webhooks settled.
    """
    chance = random.Random(seed)
    sid = topped_up(stage, "rabbitmq", seed)
    tape, wrong, swept = Tape(), [], []
    crowd = crowd_of(stage, tape, sid, seed).start()
    try:
        crowd.serves_after(time.time(), _WAIT_SECONDS)
        for _ in range(size):
            time.sleep(chance.uniform(0.5, 2.0))
            stage.rabbit.kill()
            time.sleep(chance.uniform(0.0, 3.0))
            # Who holds a link is answered without any broker.
            answered = len(tape.claims)
            until(lambda n=answered: len(tape.claims) > n, 10, "claims go on without a broker")
            stage.rabbit.start()
            back_at = time.time()
            until(lambda at=back_at: stage.swept_at() > at, _WAIT_SECONDS, "a worker sweeps again")
            swept.append(time.time() - back_at)
            crowd.serves_after(time.time(), _WAIT_SECONDS)
    finally:
        crowd.stop()
    booked = sorted({claim.slug for claim in tape.claims[-20:]})[:5]
    with httpx.Client(timeout=30) as http:
        for slug in booked:
            answer = send(stage, http, event("booking_created", f"mq-{slug}", slug))
            tape.accepted(json.loads(answer.content)["event_id"])
    verdict = check(stage.evidence(tape, sid))
    if crowd.wrong:
        wrong += crowd.wrong
    return Outcome(
        "rabbitmq",
        seed,
        verdict.claims,
        size,
        verdict.violations,
        tuple(wrong),
        notes=f"swept again {sorted(swept)[len(swept) // 2]:.1f} s after it was back, "
        f"{max(swept):.1f} s at worst; {len(booked)} webhooks settled",
    )


TRIALS = [
    Trial("rabbitmq", "RabbitMQ as broker, killed", killed, full=10, bounded=0, stage=with_rabbit),
]
