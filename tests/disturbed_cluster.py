"""Disturb a Redis Cluster: kill masters, move slots, and mend it again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import redis as blocking_redis
from redis.crc import key_slot

from bench.redis_cluster import MASTERS, Node, RedisCluster, until
from pool.store import key_names


class DisturbedCluster(RedisCluster):
    """A Cluster, and what tests do to it."""

    def heal(self) -> None:
        """Start what was killed. Return once all is whole again."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        until(self.is_whole, self._state)

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
