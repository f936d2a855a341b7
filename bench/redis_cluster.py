"""Run a Redis Cluster of three masters on loopback, by default with a replica each."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis as blocking_redis
from redis.crc import key_slot

from bench.processes import DidNotStart
from pool.up import ports

SERVER, CLI = shutil.which("redis-server"), shutil.which("redis-cli")
MASTERS = 3
NODE_TIMEOUT_MS = 1_000
PATIENCE_SECONDS = 60.0


class Node:
    """One server of the Cluster, or a server like them that `is_alone`."""

    def __init__(
        self,
        directory: Path,
        port: int,
        bus_port: int,
        options: tuple[str, ...],
        announced: int | None = None,
        *,
        is_alone: bool = False,
    ) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.port = port
        self.announced = announced or port  # where the Cluster sends its clients
        self._command = [
            str(SERVER), "--port", str(port), "--dir", str(directory), "--bind", "127.0.0.1",
            "--cluster-enabled", "no" if is_alone else "yes", "--cluster-port", str(bus_port),
            "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
            "--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no",
            "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0",
            "--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", str(self.announced),
            "--cluster-announce-bus-port", str(bus_port),
            "--appendonly", "yes", "--save", "", *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.client: Any = blocking_redis.Redis(port=port, socket_timeout=30)

    def start(self) -> None:
        """Start the server. Return once it answers."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - what is composed above
                self._command, stdout=log, stderr=log
            )
        until(self._answers, lambda: (self.directory / "log").read_text()[-2000:])

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """Kill the server, and close the client."""
        self.kill()
        self.client.close()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except blocking_redis.RedisError:
            return False


class RedisCluster:
    """The nodes of one Cluster.

    `announce` returns the port at which clients are to reach the node on a port.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        replicas: int = 1,
        announce: Callable[[int], int] | None = None,
    ) -> None:
        self._replicas = replicas
        chosen: list[int] = []
        while len(chosen) < 2 * MASTERS * (1 + replicas):
            port = ports.choose()
            if port not in chosen:
                chosen.append(port)
        self.nodes = [
            Node(directory / str(port), port, bus, options, announce and announce(port))
            for port, bus in zip(chosen[::2], chosen[1::2], strict=True)
        ]

    @property
    def url(self) -> str:
        """Return the address for linkpool, which names half of the nodes."""
        hosts = ",".join(f"127.0.0.1:{node.announced}" for node in self.nodes[::2])
        return f"redis+cluster://{hosts}"

    def start(self) -> None:
        """Start all servers and make them a Cluster. Return once each knows all slots."""
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        create = [str(CLI), "--cluster", "create", *addresses, "--cluster-yes"]
        create += ["--cluster-replicas", str(self._replicas)]
        made = subprocess.run(  # noqa: S603 - what is composed above
            create, capture_output=True, text=True, timeout=60, check=False
        )
        if made.returncode:
            raise DidNotStart(made.stdout + made.stderr)
        until(self.is_whole, self._state)

    def close(self) -> None:
        """End all servers."""
        for node in self.nodes:
            node.close()

    def is_whole(self) -> bool:
        """Return True if all nodes agree that all slots are served, and replicas follow."""
        views = []
        for node in self.nodes:
            try:
                if "cluster_state:ok" not in self._raw(node, "CLUSTER", "INFO"):
                    return False
                views.append(sorted(self._slots(node)))
                info = node.client.info("replication")
            except blocking_redis.RedisError:
                return False
            if info["role"] == "slave" and info["master_link_status"] != "up":
                return False
        covered = sum(last - first + 1 for first, last, _ in views[0])
        replicas = sum(node.client.info("replication")["role"] == "slave" for node in self.nodes)
        whole = covered == 16_384 and replicas == MASTERS * self._replicas
        return whole and all(view == views[0] for view in views)

    def _slots(self, node: Node) -> list[tuple[int, int, int]]:
        rows = node.client.execute_command("CLUSTER", "SLOTS")
        return [(first, last, master[1]) for first, last, master, *_ in rows]

    def _raw(self, node: Node, *command: str) -> str:
        return str(node.client.execute_command(*command).decode())

    def _state(self) -> str:
        return "\n".join(self._raw(node, "CLUSTER", "NODES") for node in self.nodes if node.process)

    def master_of(self, key: str) -> Node:
        """Return the node that serves a key's slot, as the others say."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node.process is None:
                continue
            for first, last, port in self._slots(node):
                if first <= slot <= last:
                    return next(each for each in self.nodes if each.announced == port)
        raise AssertionError(f"nobody serves slot {slot}")


def until(holds: Callable[[], bool], state: Callable[[], str]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(state())
        time.sleep(0.02)
