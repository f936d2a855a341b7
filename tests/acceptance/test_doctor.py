"""Test that `linkpool doctor` finds what is wrong, and says what to do about it."""

from __future__ import annotations

import json

from commands import FAILED, NOT_REACHABLE, ok
from product import Product

from pool.up import ports
from pool.up.data_dir import ENVIRONMENT


def test_doctor_warns_of_proxies_that_anybody_can_pretend_to_be(product: Product) -> None:
    """Doctor also warns of a limit per address that all visitors share."""
    for settings, says in (
        ({"LINKPOOL_TRUSTED_PROXIES": "*"}, "TRUSTED_PROXIES is *"),
        (
            {"LINKPOOL_NEW_CLAIMS_PER_MINUTE_PER_ADDRESS": "5", "LINKPOOL_HOST": "0.0.0.0"},
            "share its one address",
        ),
    ):
        done = product.command("doctor", "--json", **settings)
        warned = [each for each in json.loads(done.stdout) if each["what"] == "proxies"]
        assert [each["verdict"] for each in warned] == ["warning"]
        assert says in warned[0]["text"]
    done = product.command("doctor", "--json")
    assert not any(each["what"] == "proxies" for each in json.loads(done.stdout))


def test_doctor_finds_everything_well(product: Product) -> None:
    """While everything runs, doctor exits with 0 and every finding is ok."""
    findings = json.loads(ok(product, "doctor", "--make-link", "--json"))
    assert {finding["verdict"] for finding in findings} <= {"ok", "warning"}
    well = {finding["what"] for finding in findings if finding["verdict"] == "ok"}
    assert {"settings", "redis", "redis memory", "redis persistence", "broker"} <= well
    assert {"database", "worker", "provider default", "links of default"} <= well
    assert "webhook default" in well
    assert "ok" in ok(product, "doctor")


def test_doctor_makes_no_link_that_could_not_be_pooled(product: Product) -> None:
    """While Redis is down, doctor makes no link at the provider."""
    before = len(product.sandbox_links("demo"))
    settings = json.loads((product.data / ENVIRONMENT).read_text())
    settings["LINKPOOL_REDIS_URL"] = f"redis://127.0.0.1:{ports.choose()}/0"
    done = product.command("doctor", "--make-link", "--json", **settings)
    assert done.returncode == NOT_REACHABLE, done.stdout
    found = {each["what"]: each["text"] for each in json.loads(done.stdout)}
    assert "no link was made" in found["links of default"]
    assert len(product.sandbox_links("demo")) == before


def test_doctor_says_what_to_do_about_a_wrong_key(product: Product) -> None:
    """For a key that the provider refuses, doctor exits with 1 and says what to check."""
    done = product.command("doctor", LINKPOOL_NEETOCAL_API_KEY="wrong")
    assert done.returncode == FAILED, done.stdout
    assert "LINKPOOL_NEETOCAL_API_KEY" in done.stdout
    assert "wrong" not in done.stdout.replace("is wrong", "")


def test_doctor_finds_a_wrong_webhook_secret(product: Product) -> None:
    """For a secret other than the API's, doctor exits with 1."""
    done = product.command("doctor", "--json", LINKPOOL_NEETOCAL_WEBHOOK_SECRET="another")
    assert done.returncode == FAILED
    failed = [each for each in json.loads(done.stdout) if each["verdict"] == "failed"]
    assert [each["what"] for each in failed] == ["webhook default"]
    assert failed[0]["to_do"]
