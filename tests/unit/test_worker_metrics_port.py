"""Test that a worker forks no child in the middle of an answer of its metrics port."""

from __future__ import annotations

import subprocess
import sys

WORKER = """
import os, threading, time, urllib.request
from types import SimpleNamespace
from pool.up import ports
from worker.metrics_port import MetricsPort

held, begun = threading.Lock(), threading.Event()

def metrics():
    with held:
        begun.set()
        time.sleep(0.3)
    return b"counted"

settings = SimpleNamespace(host="127.0.0.1", metrics_port=ports.choose(), metrics_key=None)
MetricsPort(settings, metrics, None).start()
address = f"http://127.0.0.1:{settings.metrics_port}/metrics"
opened = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
answers = []
asking = threading.Thread(target=lambda: answers.append(opened(address).read().decode()))
asking.start()
assert begun.wait(20)
pid = os.fork()
if pid == 0:
    os._exit(0 if held.acquire(timeout=1) else 1)
status = os.waitpid(pid, 0)[1]
asking.join()
print("child", status, *answers, opened(address).read().decode())
"""


def test_a_child_inherits_no_lock_of_an_answer() -> None:
    """It would wait for it for good, and the worker for the child."""
    worker = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=60, check=False
    )
    assert worker.returncode == 0, worker.stderr
    assert worker.stdout == "child 0 counted counted\n"
