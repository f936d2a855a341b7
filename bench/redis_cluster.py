"""Run a Redis Cluster of three masters on loopback, by default with a replica each."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis as blocking_redis
from redis.crc import key_slot

from bench.processes import DidNotStart
from pool.store import key_names
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
    """The nodes, and what tests do to them.

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

    def heal(self) -> None:
        """Start what was killed. Return once all is whole again."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        until(self.is_whole, self._state)

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

    def masters(self) -> list[Node]:
        """Return the nodes that serve slots."""
        ports_of = {port for _, _, port in self._slots(self._alive())}
        return [node for node in self.nodes if node.announced in ports_of]

    def _alive(self) -> Node:
        return next(node for node in self.nodes if node.process is not None)

    def promote(self, key: str) -> None:
        """Let the replica of a key's master take its place in order. Return once it serves."""
        before = self.master_of(key)
        replica = next(
            node
            for node in self.nodes
            if node.client.info("replication").get("master_port") == before.announced
        )
        replica.client.execute_command("CLUSTER", "FAILOVER")
        until(lambda: self.master_of(key) is not before, self._state)
        until(self.is_whole, self._state)

    def fail_over(self, key: str) -> Node:
        """Kill the master of a key, and return its successor once that serves."""
        dead = self.master_of(key)
        dead.kill()
        until(lambda: self.master_of(key) is not dead, self._state)
        heir = self.master_of(key)
        until(lambda: "cluster_state:ok" in self._raw(heir, "CLUSTER", "INFO"), self._state)
        return heir

    def move_slot(
        self, key: str, to: Node, *, between: Callable[[], object] = lambda: None
    ) -> None:
        """Move a key's slot with all its keys to another master, as `redis-cli --cluster` does.

        `between` is called after each key.
        """
        slot, source = key_slot(key.encode()), self.master_of(key)
        if source is to:
            return
        ids = {node: self._raw(node, "CLUSTER", "MYID") for node in (source, to)}
        to.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
        while names := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.client.execute_command(
                "MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS", *names
            )
            between()
        # The new owner's claim is then the youngest of all. Otherwise a message that the old one
        # sent a moment ago could take the slot back, for some nodes and for good.
        until(lambda: self._knows_all_epochs(to), self._state)
        masters = self.masters()
        to.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[to])
        # Nor may they who hear of it not know yet how young that claim is.
        until(lambda: self._is_epoch_known(to, ids[to], masters), self._state)
        for node in (source, *masters):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[to])
        until(lambda: not self._settled(), self._state)

    def _settled(self) -> list[int]:
        """Return the slots of which the masters say different things, and settle them anew.

        Such a dispute would last: only who owns a slot tells the others so, and each of two may
        take the other for its owner.
        """
        masters = self.masters()
        views = [self._slots(node) for node in masters]
        if all(sorted(view) == sorted(views[0]) for view in views):
            return []
        owners = [
            {slot: port for first, last, port in view for slot in range(first, last + 1)}
            for view in views
        ]
        disputed = [slot for slot in range(16_384) if len({each.get(slot) for each in owners}) > 1]
        for slot in disputed:
            to = next((node for node in masters if node.announced == owners[0].get(slot)), None)
            if to is not None:
                self._claim(slot, to, masters)
        return disputed

    def _claim(self, slot: int, owner: Node, masters: list[Node]) -> None:
        """Let a master claim a slot with the youngest epoch of all, which the others know of."""
        node_id = self._raw(owner, "CLUSTER", "MYID")
        # Two masters of one epoch settle that by a new one for either, maybe for the one that
        # still claims what it has lost.
        until(lambda: self._knows_all_epochs(owner), self._state)
        owner.client.execute_command("CLUSTER", "BUMPEPOCH")
        until(lambda: self._is_epoch_known(owner, node_id, masters), self._state)
        for node in (owner, *masters):
            # Who holds keys of it does not give it up.
            with suppress(blocking_redis.ResponseError):
                node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", node_id)

    def _knows_all_epochs(self, node: Node) -> bool:
        """Return True if a node has heard of all masters' epochs, and no two are equal."""
        own = [self._epoch(master, "my") for master in self.masters()]
        return len(set(own)) == len(own) and self._epoch(node, "current") >= max(own)

    def _is_epoch_known(self, node: Node, node_id: str, others: list[Node]) -> bool:
        """Return True if the others have heard of this node's latest epoch."""
        own = self._epoch(node, "my")
        for other in others:
            rows = [row.split() for row in self._raw(other, "CLUSTER", "NODES").splitlines()]
            if next(int(row[6]) for row in rows if row[0] == node_id) < own:
                return False
        return True

    def _epoch(self, node: Node, which: str) -> int:
        info = self._raw(node, "CLUSTER", "INFO")
        return int(info.split(f"cluster_{which}_epoch:")[1].split()[0])

    def move_all(self) -> None:
        """Move every slot that holds keys to the next master."""
        masters = self.masters()
        held = [
            {key_slot(key): key for key in node.client.scan_iter(count=1_000)} for node in masters
        ]
        for number, keys in enumerate(held):
            for key in keys.values():
                self.move_slot(key.decode(), masters[(number + 1) % len(masters)])

    def flush(self) -> None:
        """Empty all masters, which agree then on who serves what."""
        for node in self.masters():
            node.client.flushall()
        until(lambda: not self._settled(), self._state)

    def sids_apart(self, begin: str = "m") -> list[str]:
        """Return a SID on each of the masters."""
        found: dict[int, str] = {}
        number = 0
        while len(found) < MASTERS:
            sid = f"{begin}{number}"
            found.setdefault(self.master_of(key_names.epoch(sid)).port, sid)
            number += 1
        return list(found.values())


def until(holds: Callable[[], bool], state: Callable[[], str]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(state())
        time.sleep(0.02)
