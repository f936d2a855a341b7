"""Send notices from a real product to a real receiver."""

from __future__ import annotations

import time

from product import Product, wait_until
from receiver import Receiver


def test_an_empty_pool_is_reported_once_and_once_more_when_it_is_full(
    probing: Product, receiver: Receiver
) -> None:
    """Every sweep sees the trouble; the receiver's address is not logged."""
    probing.put("dry", min_fresh=5, cover_seconds=0, on_empty="fail")
    with probing.turned(refuse_meetings="dry=403"):
        for number in range(5):
            probing.slug("dry", f"c{number}")
        wait_until(lambda: receiver.about("dry is empty"), 40, what="the pool is told to be empty")
        time.sleep(2)  # two sweeps
        assert len(receiver.about("dry is empty")) == 1
        assert not receiver.about("fresh links again")
    wait_until(lambda: receiver.about("of dry has"), 40, what="the pool is told to be full")
    time.sleep(2)
    assert len(receiver.about("of dry has")) == 1
    assert len(receiver.about("dry is empty")) == 1
    log = "".join(path.read_text() for path in probing.data.rglob("*.log"))
    assert "services/T0" not in log + probing.complained.read_text()


def test_doctor_sends_a_test_notice(probing: Product, receiver: Receiver) -> None:
    """On request, and says whether it was taken."""
    done = probing.command("doctor", "--no-make-link", "--notify")
    assert "accepted a test notice" in done.stdout, done.stdout + done.stderr
    assert receiver.about("this is a test")
    closed = probing.directory / "closed"
    closed.write_text(f"{receiver.url}/closed")
    done = probing.command(
        "doctor", "--no-make-link", "--notify", LINKPOOL_NOTIFY_URL_FILE=str(closed)
    )
    assert done.returncode == 1
    assert "the webhook answers 503" in done.stdout


def test_a_target_may_be_left_to_the_forecast(probing: Product) -> None:
    """Over HTTP and from the command line; answers say what it suggests either way."""
    assert probing.meeting("demo")["target_mode"] == "fixed"
    meeting = probing.put("demo", fill=False, target="auto")
    assert meeting["target_mode"] == "auto"
    assert meeting["target"] == meeting["suggested_target"] >= meeting["min_fresh"]
    assert probing.command("meetings", "set", "demo", "--target", "fixed").returncode == 0
    assert probing.meeting("demo")["target_mode"] == "fixed"
    refused = probing.api("PUT", "/v1/meetings/demo", json={"target": "sometimes"})
    assert refused.status_code == 422
