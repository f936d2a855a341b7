"""Run API, worker and beat with their pools on a Redis Cluster and the broker elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from bench.processes import PYTHON
from pool.model.meetings import Meeting
from pool.store import key_names
from tests.acceptance.product import wait_until
from tests.trials.harness.clusters import ClusterStage
from tests.trials.harness.lacking import Lacking


@pytest.fixture(scope="module")
def stage() -> Iterator[ClusterStage]:
    """Return a Cluster of three masters and three replicas, and one process of each part."""
    try:
        with ClusterStage(seed=1) as stage:
            stage.start_servers(1)
            stage.start_sandbox()
            stage.start_worker()
            yield stage
    except Lacking as what:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"this machine lacks {what}: apt-get install redis-server")


def claim(stage: ClusterStage, sid: str, customer: str) -> httpx.Response:
    """Return the answer to a claim."""
    return httpx.post(
        f"http://127.0.0.1:{stage.server_ports[0]}/v1/meetings/{sid}/claims",
        json={"customer_id": customer},
        headers={"X-API-Key": stage.key},
        timeout=20,
        trust_env=False,
    )


def test_all_parts_work_on_a_cluster_that_loses_a_master(stage: ClusterStage) -> None:
    """The worker fills the pools and recovers those of the lost master, while the other meetings
    are served.
    """
    lost, *others = stage.cluster.sids_apart("site-")
    for sid in (lost, *others):
        stage.open(Meeting(sid, min_fresh=20, max_fresh=40))
        wait_until(lambda sid=sid: stage.level(sid) >= 20, 60, what=f"{sid} is topped up")  # type: ignore[misc]
        assert claim(stage, sid, "ann").status_code == 201
    before = {sid: claim(stage, sid, "ann").json()["claim"]["slug"] for sid in (lost, *others)}

    assert httpx.get(f"http://127.0.0.1:{stage.server_ports[0]}/readyz", trust_env=False).is_success
    doctor = subprocess.run(
        [PYTHON, "-m", "pool.cli", "doctor", "--json"],
        env=stage.environ("api-0"),
        cwd=stage.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = {each["what"]: each["verdict"] for each in json.loads(doctor.stdout)}
    for what in ("redis", "redis memory", "redis persistence", "redis cluster", "worker"):
        assert verdicts[what] == "ok", doctor.stdout

    stage.cluster.master_of(key_names.epoch(lost)).kill()
    for sid in others:
        assert claim(stage, sid, "bob").status_code == 201
    wait_until(lambda: claim(stage, lost, "bob").status_code == 201, 60, what="it is recovered")
    assert {sid: claim(stage, sid, "ann").json()["claim"]["slug"] for sid in before} == before
    later = {claim(stage, sid, "bob").json()["claim"]["slug"] for sid in before}
    assert len(later | set(before.values())) == 6
    stage.cluster.heal()
