"""Test that running parts load new workspaces and meetings while customers claim."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from product import Product, wait_until

from pool.up.running import running

TOML = """
[workspaces.second]
subdomain = "second"
api_key_file = "second.key"
base_url = "{sandbox}"

[meetings.reloaded]
workspace = "second"
min_fresh = {fresh}
cover_seconds = 0
"""


@contextmanager
def claims(product: Product, sid: str) -> Iterator[Counter[object]]:
    """Claim without a pause for new and known customers in turn. Yield the answers."""
    answers: Counter[object] = Counter()
    ended = threading.Event()

    def work() -> None:
        with httpx.Client(base_url=product.url, timeout=20, trust_env=False) as client:
            for number in itertools.count():
                if ended.is_set():
                    return
                try:
                    answer = client.post(
                        f"/v1/meetings/{sid}/claims",
                        json={"customer_id": f"c{number % 3}"},
                        headers={"x-api-key": product.key},
                    )
                    answers[answer.status_code] += 1
                except httpx.HTTPError as error:
                    answers[type(error).__name__] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def configured(shared: Product) -> Iterator[Callable[[str], None]]:
    """Return a function that writes linkpool.toml; the file is removed at the end."""
    toml, key = shared.directory / "linkpool.toml", shared.directory / "second.key"
    key.touch(0o600)
    key.write_text(shared.environment()["LINKPOOL_NEETOCAL_API_KEY"])
    # Paused at the end of a first try.
    shared.api("POST", "/v1/meetings/reloaded/resume", json={"reason": "the test begins"})
    yield toml.write_text
    toml.unlink()
    shared.command("meetings", "pause", "reloaded", "--reason", "the test is over")


def test_a_reload_takes_what_is_new_and_drops_no_claim(
    shared: Product, sid: str, configured: Callable[[str], None]
) -> None:
    """A bad file is then refused in one line, and the settings before it stay in force."""
    with claims(shared, sid) as answers:
        wait_until(lambda: answers[200] > 20)
        configured(TOML.format(sandbox=shared.sandbox_url, fresh=4))
        done = shared.command("reload", seconds=120)
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout.splitlines()
        assert {"api: reloaded", "worker: reloaded", "beat: reloaded"} <= set(said), said
        # The API serves the new workspace's claims, and the worker makes its links.
        wait_until(lambda: shared.meeting("reloaded")["fresh"] >= 4, 60, what="links are made")
        ann = f"ann-{secrets.token_hex(4)}"
        assert shared.claim("reloaded", ann).status_code == 201
        before = sum(answers.values())
        configured("[workspaces.second]\nsubdomain = 'not a name!'\napi_key = 'x'\n")
        bad = shared.command("reload", seconds=120)
        wrong = "linkpool.toml: workspaces.second.subdomain: "
        assert (bad.returncode, bad.stderr.count("\n")) == (2, 1), bad.stderr
        assert wrong in bad.stderr
        # A signal that comes from elsewhere is refused by each part itself.
        parts = {each.part: each for each in running(shared.data)}
        assert set(parts) == {"api", "worker", "beat"}
        for each in parts.values():
            os.kill(each.pid, signal.SIGHUP)

        def refused() -> bool:
            said = list(running(shared.data))
            return len(said) == 3 and all(each.problem.startswith(wrong) for each in said)

        wait_until(refused, what="each part has refused it")
        assert {each.pid for each in running(shared.data)} == {each.pid for each in parts.values()}
        assert shared.claim("reloaded", ann).status_code == 200
        wait_until(lambda: sum(answers.values()) > before + 20)
    assert set(answers) <= {200, 201}, answers
