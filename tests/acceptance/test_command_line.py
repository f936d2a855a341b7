"""Test the command line, as people and scripts use it."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from commands import DONE, NOT_FOUND, NOT_REACHABLE, WRONG_USAGE, fails, ok
from product import Product, wait_until
from typer.testing import CliRunner

from pool.cli.main import app
from pool.up import ports
from tests.bad_tokens import Forge

COMMANDS = [
    "up",
    "api",
    "worker",
    "beat",
    "status",
    "doctor",
    "seal",
    "embed",
    "claim",
    "meetings",
    "meetings list",
    "meetings show",
    "meetings add",
    "meetings set",
    "meetings pause",
    "meetings resume",
    "meetings top-up",
    "meetings drain",
    "keys",
    "keys create",
    "keys list",
    "keys rotate",
    "keys revoke",
    "tokens",
    "tokens create-secret",
    "tokens list-secrets",
    "tokens revoke-secret",
    "token",
    "public-keys",
    "public-keys create",
    "public-keys list",
    "public-keys revoke",
    "events",
    "events list",
    "events show",
    "events replay",
    "db",
    "db upgrade",
    "db recount",
    "db prune",
    "db restored",
]


def test_linkpool_has_help(product: Product) -> None:
    """`linkpool --help` and the sandbox's own help work when started as real processes."""
    whole = ok(product, "--help", warm=False)
    assert "Exit codes" in whole
    for words in COMMANDS:
        assert words.partition(" ")[0] in whole
    assert "--webhook-url" in ok(product, "sandbox", "--help", warm=False)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help(words: str) -> None:
    """--help of every command exits with 0 and says what the command is for."""
    # In this process: starting one for each would be most of the work.
    done = CliRunner().invoke(app, [*words.split(), "--help"])
    assert done.exit_code == DONE
    assert "usage" in done.stdout.lower()
    assert len(done.stdout) > 100


def test_status_shows_every_pool(product: Product, sid: str) -> None:
    """People get a table, and programs get JSON."""
    table = ok(product, "status")
    assert sid in table
    assert "a worker last ran" in table
    found = json.loads(ok(product, "status", "--json"))
    mine = next(each for each in found["meetings"] if each["sid"] == sid)
    assert (mine["state"], mine["min_fresh"]) == ("ok", 5)
    assert mine["fresh"] >= 5
    assert mine["target"] == 5
    assert found["notes"]


def test_meetings_from_adding_to_draining(product: Product) -> None:
    """Each action reports what it did, and the API shows it."""
    sid = "by-hand"
    assert "added" in ok(product, "meetings", "add", sid, "--min-fresh", "4", warm=False)
    wait_until(lambda: product.meeting(sid)["fresh"] >= 4, 15)
    assert "changed" in ok(product, "meetings", "set", sid, "--max-fresh", "9")
    wait_until(lambda: product.meeting(sid)["max_fresh"] == 9, 5)
    slug = product.slug(sid, "held")
    ok(product, "meetings", "pause", sid, "--reason", "audit")
    wait_until(lambda: product.meeting(sid)["state"] == "paused", 5)
    assert product.meeting(sid)["reason"] == "audit"
    assert product.slug(sid, "held") == slug
    before = set(product.sandbox_links(sid)) - {slug}
    assert "retired" in ok(product, "meetings", "drain", sid, "--yes")
    assert product.meeting(sid)["fresh"] == 0
    ok(product, "meetings", "resume", sid)
    assert "asked" in ok(product, "meetings", "top-up", sid)
    wait_until(lambda: product.meeting(sid)["fresh"] >= 4, 15)
    assert product.slug(sid, "another") not in before
    listed = json.loads(ok(product, "meetings", "list", "--json"))
    assert sid in [each["sid"] for each in listed]
    assert sid in ok(product, "meetings", "list")
    shown = json.loads(ok(product, "meetings", "show", sid, "--json"))
    assert (shown["sid"], shown["min_fresh"], shown["max_fresh"]) == (sid, 4, 9)
    assert "min_fresh" in ok(product, "meetings", "show", sid)
    assert "nothing was changed" in ok(product, "meetings", "add", sid)
    audit = product.rows("SELECT action FROM audit WHERE meeting_sid = ?", sid)
    assert {"put", "pause", "drain", "resume", "top-up"} <= {action for (action,) in audit}


def test_draining_asks_first(product: Product, sid: str) -> None:
    """Without --yes the SID must be typed, and any other word does nothing."""
    fails(product, WRONG_USAGE, "meetings", "drain", sid, said="no\n")
    assert product.meeting(sid)["fresh"] >= 5
    assert "retired" in product.command("meetings", "drain", sid, said=f"{sid}\n").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("meetings", "add", "a b"),
        ("meetings", "add", "x", "--min-fresh", "-1"),
        ("meetings", "add", "x", "--min-fresh", "9", "--max-fresh", "3"),
        ("meetings", "add", "x", "--after-booking", "maybe"),
        ("meetings", "add", "x", "--workspace", "elsewhere"),
        ("meetings", "set", "demo"),
        ("keys", "create", "--scope", "everything"),
        ("keys", "create", "--meeting", "a b"),
        ("keys", "rotate", "00000000", "--overlap-hours", "-1"),
        ("keys", "create", "--network", "10.0.0.0/33"),
        ("keys", "create", "--expires-in-days", "0"),
        ("events", "list", "--state", "lost"),
        ("up", "--meeting", "a b"),
        ("up", "--port", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_two(product: Product, words: tuple[str, ...]) -> None:
    """Wrong usage exits with code 2 and a message on stderr."""
    assert_refused(product, WRONG_USAGE, words)


@pytest.mark.parametrize(
    "words",
    [
        ("meetings", "show", "nowhere"),
        ("meetings", "set", "nowhere", "--min-fresh", "3"),
        ("meetings", "pause", "nowhere"),
        ("meetings", "resume", "nowhere"),
        ("meetings", "top-up", "nowhere"),
        ("meetings", "drain", "nowhere", "--yes"),
        ("keys", "revoke", "00000000"),
        ("keys", "rotate", "00000000"),
        ("tokens", "create-secret", "00000000"),
        ("tokens", "revoke-secret", "00000000"),
        ("public-keys", "revoke", "pk_0"),
        ("token", "--meeting", "nowhere", "--customer", "ann"),
        ("embed", "one-off-none"),
        ("events", "show", "0123"),
        ("events", "replay", "0123"),
        ("events", "assign", "0123", "one-off-none"),
    ],
    ids=" ".join,
)
def test_what_is_not_found_is_four(product: Product, words: tuple[str, ...]) -> None:
    """Scripts can distinguish it from wrong usage."""
    assert_refused(product, NOT_FOUND, words)


def assert_refused(product: Product, code: int, words: tuple[str, ...]) -> None:
    """Check that a command ends with this code, and says why on stderr alone."""
    # In this process: starting one for each would be most of the work. No wrong setting of this
    # environment may get in.
    environ = {name: None for name in os.environ if name.startswith("LINKPOOL_")}
    done = CliRunner().invoke(app, words, env=environ | {"LINKPOOL_DATA_DIR": str(product.data)})
    assert done.exit_code == code, done.output
    assert done.stderr.strip()
    assert done.stdout == ""


def test_keys_rotate_with_an_overlap_rest_on_networks_and_run_out(product: Product) -> None:
    """The new key is printed once, the old one works during the overlap, and their use is
    listed.
    """
    words = ("--scope", "read", "--network", "127.0.0.0/8", "--expires-in-days", "30", "--json")
    old = json.loads(ok(product, "keys", "create", *words))
    assert (old["networks"], old["scopes"], old["meetings"]) == (["127.0.0.0/8"], ["read"], None)
    assert old["expires_at"]
    wait_until(lambda: product.api("GET", "/v1/meetings", key=old["key"]).status_code == 200, 5)
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    refused = product.api("GET", "/v1/meetings", key=old["key"], headers=elsewhere)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
    new = json.loads(ok(product, "keys", "rotate", old["id"], "--overlap-hours", "1", "--json"))
    assert (new["networks"], new["scopes"]) == (["127.0.0.0/8"], ["read"])
    wait_until(lambda: product.api("GET", "/v1/meetings", key=new["key"]).status_code == 200, 5)
    assert product.api("GET", "/v1/meetings", key=old["key"]).status_code == 200
    ok(product, "keys", "rotate", old["id"], "--overlap-hours", "0")
    wait_until(lambda: product.api("GET", "/v1/meetings", key=old["key"]).status_code == 401, 5)

    def listed() -> dict[str, Any]:
        keys = json.loads(ok(product, "keys", "list", "--json"))
        return {key["id"]: key for key in keys}

    wait_until(lambda: listed()[new["id"]]["last_used_at"], 10)
    fails(product, NOT_FOUND, "keys", "rotate", old["id"])


def test_keys_are_shown_once_and_revoked(product: Product) -> None:
    """create prints the key, list shows its id and scopes, revoke ends it, and no secret is
    listed.
    """
    made = json.loads(
        ok(product, "keys", "create", "--scope", "read", "--label", "Zoë's", "--json")
    )
    key, identity = made["key"], made["id"]
    assert key.startswith(f"lp_{identity}_")
    listing = ok(product, "keys", "list")
    assert identity in listing
    assert "Zoë's" in listing
    assert key not in listing
    assert key not in ok(product, "keys", "list", "--json")
    wait_until(lambda: product.api("GET", "/v1/meetings", key=key).status_code == 200, 5)
    ok(product, "keys", "revoke", identity)
    wait_until(lambda: product.api("GET", "/v1/meetings", key=key).status_code == 401, 5)
    mine = next(k for k in json.loads(ok(product, "keys", "list", "--json")) if k["id"] == identity)
    assert mine["revoked_at"]
    fails(product, NOT_FOUND, "keys", "revoke", identity)


def embed_claim(product: Product, **body: str) -> int:
    """Return the status of a claim from a page."""
    headers = {"Origin": "https://www.example.com"}
    return product.api("POST", "/v1/embed/claims", key="", json=body, headers=headers).status_code


def test_a_token_is_tried_and_secrets_are_rotated(product: Product, sid: str) -> None:
    """`token` prints a token that claims; secrets are shown once, two exist at a time, and revoking
    works.
    """
    key = product.new_key("--scope", "claim", "--meeting", sid)[3:11]
    for more in ((), ("--key", key, "--email", "ann@example.com", "--expires-in", "60")):
        token = ok(product, "token", "--meeting", sid, "--customer", "ann", *more).strip()
        assert embed_claim(product, token=token) in (200, 201)
    first = ok(product, "tokens", "create-secret", key).strip()
    second = json.loads(ok(product, "tokens", "create-secret", key, "--json"))
    assert first != second["secret"]
    assert "revoke-secret" in fails(product, WRONG_USAGE, "tokens", "create-secret", key)
    forge = Forge(key, first, int(time.time()))
    signed = forge.good(meeting=sid)
    wait_until(lambda: embed_claim(product, token=signed) in (200, 201), 10)
    ok(product, "tokens", "revoke-secret", first[4:12], "--reason", "rotated")
    wait_until(lambda: embed_claim(product, token=signed) == 401, 10)
    listed = ok(product, "tokens", "list-secrets", "--json")
    found = {each["id"]: each["revoked_at"] for each in json.loads(listed) if each["key_id"] == key}
    assert found.keys() == {first[4:12], second["id"]}
    assert (found[first[4:12]] is None, found[second["id"]] is None) == (False, True)
    assert first[13:] not in listed + ok(product, "tokens", "list-secrets")
    for words in (
        ("token", "--meeting", "unknown", "--customer", "ann"),
        ("token", "--meeting", "demo", "--customer", "ann", "--key", key),
        ("tokens", "revoke-secret", first[4:12]),
    ):
        fails(product, NOT_FOUND, *words)


def test_a_public_key_is_made_listed_and_revoked(product: Product, sid: str) -> None:
    """The key works for exactly the origins that are named."""
    site = ("--origin", "https://www.example.com", "--origin", "http://localhost:3000")
    key = ok(product, "public-keys", "create", sid, *site, "--label", "landing").strip()
    wait_until(lambda: embed_claim(product, public_key=key) == 201, 10)
    [listed] = json.loads(ok(product, "public-keys", "list", sid, "--json"))
    assert (listed["id"], listed["meeting"], listed["label"]) == (key, sid, "landing")
    assert listed["origins"] == "https://www.example.com http://localhost:3000"
    ok(product, "public-keys", "revoke", key)
    wait_until(lambda: embed_claim(product, public_key=key) == 401, 10)
    fails(product, NOT_FOUND, "public-keys", "revoke", key)
    assert "origin" in fails(product, WRONG_USAGE, "public-keys", "create", sid, "--origin", "*")
    assert "reserve" in fails(product, WRONG_USAGE, "meetings", "set", sid, "--reserve", "5")
    ok(product, "meetings", "set", sid, "--reserve", "4")
    assert product.meeting(sid)["reserve"] == 4


def test_a_meeting_is_spread_over_shards_and_back(product: Product, sid: str) -> None:
    """Each customer keeps their link, whatever the number of shards."""
    held = {who: product.slug(sid, who) for who in ("ann", "bob", "cem", "dee")}

    def served(who: str) -> dict[str, Any]:
        answer = product.claim(sid, who)
        return dict(answer.json()) if answer.status_code in (200, 201) else {}

    assert "needs at least one link" in fails(
        product, WRONG_USAGE, "meetings", "set", sid, "--shards", "64"
    )
    fails(product, WRONG_USAGE, "meetings", "set", sid, "--shards", "65")
    for shards in (3, 1):
        ok(product, "meetings", "set", sid, "--shards", str(shards))
        wait_until(lambda: product.meeting(sid)["shards"] == shards, 10)  # noqa: B023 - called here
        for who, slug in held.items():
            answer = wait_until(lambda: served(who), 30)  # noqa: B023 - called here
            assert answer["claim"]["slug"] == slug
            assert answer["reused"] is True
    assert len(set(held.values())) == len(held)


def test_events_are_listed_and_replayed(product: Product, sid: str) -> None:
    """The command line lists the events of the inbox and replays one."""
    booking = product.control("book", meeting_sid=sid, email="nobody@example.com")["booking"]

    def unmatched() -> list[dict[str, Any]]:
        found = product.api("GET", "/v1/events?state=unmatched").json()["events"]
        return [event for event in found if event["booking_sid"] == booking["sid"]]

    event = wait_until(unmatched)[0]
    listed = json.loads(ok(product, "events", "list", "--state", "unmatched", "--json"))
    assert event["id"] in [each["id"] for each in listed]
    # Whole, however narrow: replay asks for it.
    assert event["id"] in ok(product, "events", "list", COLUMNS="40")
    shown = json.loads(ok(product, "events", "show", event["id"], "--json"))
    assert (shown["id"], shown["booking_sid"], shown["state"]) == (
        event["id"], booking["sid"], "unmatched"
    )  # fmt: skip
    assert booking["sid"] in ok(product, "events", "show", event["id"])
    assert "unmatched" in ok(product, "events", "replay", event["id"])
    assert ok(product, "events", "replay", "--dead") == "dead events to be processed again: 0\n"
    fails(product, WRONG_USAGE, "events", "replay")
    fails(product, WRONG_USAGE, "events", "replay", event["id"], "--dead")


def test_seal_stops_handing_out_and_undo_resumes_it(product: Product, sid: str) -> None:
    """seal stops handing out links, and --undo continues with the same ones."""
    slug = product.slug(sid, "held")

    def filled() -> bool:
        found = product.api("GET", "/v1/meetings").json()["meetings"]
        return all(each["fresh"] >= each["target"] for each in found if each["state"] == "ok")

    wait_until(filled, 30)  # a link that is on its way into a pool would be quarantined
    try:
        assert "sealed" in ok(product, "seal")
        assert product.claim(sid, "x").json()["type"] == "/problems/recovering"
    finally:
        said = ok(product, "seal", "--undo")
    assert "unsealed" in said
    assert product.slug(sid, "held") == slug
    assert product.rows("SELECT count(*) FROM links WHERE state = 'quarantined'") == [(0,)]


def test_without_redis_commands_are_three(tmp_path: Path) -> None:
    """doctor, status and actions exit with 3 when Redis is not reachable."""
    product = Product(tmp_path)
    away = {"LINKPOOL_REDIS_URL": f"redis://127.0.0.1:{ports.choose()}/0"}
    ok(product, "db", "upgrade")
    done = product.command("doctor", **away)
    assert done.returncode == NOT_REACHABLE, done.stdout
    assert "LINKPOOL_REDIS_URL" in done.stdout
    fails(product, NOT_REACHABLE, "status", **away)
    product.close()


def test_without_settings_or_up_commands_say_what_is_missing(tmp_path: Path) -> None:
    """In a directory where nothing runs, commands exit with 2 and name the setting."""
    product = Product(tmp_path)
    for words in (("status",), ("api",), ("worker",), ("beat",), ("meetings", "list")):
        assert "LINKPOOL_REDIS_URL" in fails(product, WRONG_USAGE, *words)
    product.close()


def test_db_upgrade_may_run_again(tmp_path: Path) -> None:
    """The command works on an empty database and on one that is up to date."""
    product = Product(tmp_path)
    first = ok(product, "db", "upgrade", warm=False)
    assert ok(product, "db", "upgrade") == first
    assert product.rows("SELECT count(*) FROM links") == [(0,)]
    product.close()


def test_db_prune_takes_out_what_was_kept_for_long_enough(tmp_path: Path) -> None:
    """Old events and bodies are deleted and counted; a SQLite file can be rewritten afterwards."""
    product = Product(tmp_path)
    ok(product, "db", "upgrade")
    file = sqlite3.connect(product.data / "ledger.sqlite3")
    columns = "id, workspace, source, event, body, received_at, state, reason, attempts, seen"
    now_ms = int(time.time() * 1000)
    for days, state in ((91, "unmatched"), (31, "settled"), (1, "settled")):
        values = (f"e{days}", now_ms - days * 86_400_000, state)
        given = "?, 'default', 'webhook', 'x', x'7b7d', ?, ?, '', 0, 1"
        file.execute(f"INSERT INTO inbox ({columns}) VALUES ({given})", values)
    file.commit()
    file.close()
    assert ok(product, "db", "prune") == "deleted 1 events, blanked 1 bodies\n"
    assert product.rows("SELECT id, length(body) FROM inbox ORDER BY id") == [("e1", 2), ("e31", 0)]
    said = json.loads(ok(product, "db", "prune", "--compact", "--json"))
    assert said == {"events": 0, "bodies": 0, "cleaned": True}
    product.close()
