"""Test that each bad setting stops the command in one line that names it, with exit code 2.

The lines are what an operator reads first, so that none of them may be a traceback, and none may
hold a secret: they end up in logs. Settings that a server refuses are in
tests/integration/test_refused_by_servers.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bad_settings import STARTED, Done, attempt

# No part of any of these may ever be shown; each stands in some setting below.
SECRET = "hunter2hunter3"
STRONG = "kq8ZtT3vHn2LwYc7RbX5mPd9sGfJ4aVe"
REDIS = {"REDIS_URL": "redis://127.0.0.1:1/0"}  # nobody answers there, which stops no start
PRODUCTION = REDIS | {
    "ENV": "production",
    "DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    "SECRET_KEY": STRONG,
}
PROVIDER = {"NEETOCAL_SUBDOMAIN": "acme", "NEETOCAL_API_KEY": SECRET}

# Each: command, setting that is named, its bad value.
VALUES = [
    ("api", "REDIS_URL", f"localhost:6379/{SECRET}"),
    ("api", "PUBLIC_URL", f"https://u:{SECRET}@links.example.com"),
    ("api", "PROXY_IDENTITY_HEADER", "X-Forwarded-User"),  # without any proxy that is trusted
    ("api", "PROXY_ROLES", "ada=admin"),  # without a header
    ("worker", "REDIS_URL", "http://x"),
    ("beat", "REDIS_URL", "redis://h:99999"),
    ("api", "REDIS_URL", "redis://h/abc"),
    ("doctor", "REDIS_URL", "redis://h/1?db=3"),
    ("api", "REDIS_URL", "redis://h?retry_on_timeout=1"),
    ("worker", "REDIS_URL", f"redis://u:{SECRET}#x@h"),
    ("api", "REDIS_URL", f"redis://u:{SECRET}/x@h"),
    ("api", "REDIS_URL", "rediss://h?ssl_cert_reqs=maybe"),
    ("api", "REDIS_URL", "rediss://h?ssl_ca_certs=/none/ca.pem"),
    ("beat", "REDIS_URL", "rediss://h?ssl_certfile=/none/cert.pem"),
    ("api", "REDIS_URL", "rediss://h?ssl_ca_certs=/etc/passwd"),
    ("worker", "REDIS_URL", "rediss://h?ssl_certfile=/etc/passwd"),
    ("api", "REDIS_URL", "rediss://h?ssl_keyfile=/etc/passwd"),
    ("beat", "BROKER_URL", "amqps://h?ssl_certfile=/etc/passwd&ssl_keyfile=/etc/passwd"),
    ("worker", "REDIS_URL", "redis+sentinel://h"),
    ("api", "REDIS_URL", "unix://no-socket"),
    ("worker", "REDIS_URL", "amqp://h"),
    ("worker", "BROKER_URL", "foo://"),
    ("beat", "BROKER_URL", "amqp://"),
    ("api", "BROKER_URL", f"amqp://u:{SECRET}@h:99999/"),
    ("api", "BROKER_URL", f"amqp://u:{SECRET}@x@h/"),
    ("beat", "BROKER_URL", "amqp://h?heartbeat=1"),
    ("worker", "BROKER_URL", "amqps://h?ssl_ca_certs=/none/ca.pem"),
    ("api", "DATABASE_URL", f"mysql://u:{SECRET}@h/d"),
    ("worker", "DATABASE_URL", f"postgresql://u:{SECRET}@h:port/d"),
    ("db upgrade", "DATABASE_URL", f"postgresql://u:{SECRET}@h:99999/d"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?pool_size=3"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?sslmode=perhaps"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?sslrootcert=/none"),
    ("worker", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?target_session_attrs=x"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?ssl_min_protocol_version=3"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}?x@h/d"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}@x@h/d"),
    ("db upgrade", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?sslmode=verify-full"),
    ("worker", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?sslmode=require&sslmode=disable"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?sslnegotiation=direct"),
    ("api", "DATABASE_URL", "sqlite:////tmp/ledger.sqlite3?mode=ro"),
    ("api", "DATABASE_URL", "sqlite:////dev/null"),
    ("api", "DATABASE_URL", "sqlite://"),
    ("db prune", "DATABASE_URL", "sqlite:////tmp"),
    ("db upgrade", "DATABASE_URL", "sqlite:////proc/none/ledger.sqlite3"),
    ("api", "HOST", "192.0.2.1"),
    ("up", "HOST", "192.0.2.1"),
    ("api", "PORT", "0"),
    ("up", "PORT", "65536"),
    ("api", "PORT", "http"),
    ("api", "API_WORKERS", "65"),
    ("worker", "WORKER_CONCURRENCY", "0"),
    ("beat", "SWEEP_SECONDS", "nan"),
    ("worker", "SWEEP_SECONDS", "often"),
    ("worker", "PROVIDER_RATE", "-1"),
    ("api", "CLAIM_TIMEOUT_SECONDS", "0"),
    ("api", "DATABASE_CONNECTIONS", "101"),
    ("worker", "INBOX_RETENTION_DAYS", "0"),
    ("worker", "LEDGER_RETENTION_DAYS", "30"),
    ("api", "KEEP_ALIVE_SECONDS", "0"),
    ("api", "REDIS_FORGETS", "perhaps"),
    ("api", "ENV", "prod"),
    ("api", "LOG_FORMAT", "xml"),
    ("beat", "LOG_LEVEL", "loud"),
    ("api", "TRUSTED_PROXIES", "10.0.0.1/8"),
    ("api", "TRUSTED_PROXIES", "my-proxy"),
    ("api", "DEMO_MEETING", "a b"),
    ("api", "NOTIFY_URL", f"hooks.test/{SECRET}"),
    ("worker", "NOTIFY_URL", f"https://h:99999/{SECRET}"),
    ("api", "ADMIN_KEY", "short-key"),
    ("api", "ADMIN_KEY", "change-me-change-me-change-me-123"),
    ("worker", "SECRET_KEY", "0123456789" * 4),
    ("api", "CONFIG", "/none/linkpool.toml"),
    ("api", "CONFIG", "/tmp"),
    ("api", "REDIS_ULR", "redis://h"),
    ("api", "X\nY", "x"),
    ("api", "DATA_DIR", "/proc/none"),
    ("worker", "DATA_DIR", "/dev/null"),
    ("up", "DATA_DIR", "/proc/none"),
    ("doctor", "DATA_DIR", "/proc/none"),
    ("db upgrade", "DATA_DIR", "/proc/none"),
    ("api", "NEETOCAL_SUBDOMAIN", "Acme.neetocal.com"),
    ("worker", "NEETOCAL_API_KEY", f"{SECRET} and more"),
    ("api", "NEETOCAL_BASE_URL", "https://acme.test:99999"),
    ("api", "NEETOCAL_LINK_BASE_URL", "acme.test"),
    ("api", "NEETOCAL_REF_FIELD", "a b"),
    ("api", "NEETOCAL_EMBED_SCRIPT_URL", "javascript:alert(1)"),
]
# What LINKPOOL_ENV=production refuses besides; None: it is not set.
IN_PRODUCTION = [
    ("api", "REDIS_URL", None),
    ("beat", "REDIS_URL", None),
    ("up", "REDIS_URL", None),
    ("worker", "DATABASE_URL", None),
    ("api", "SECRET_KEY", None),
    ("up", "NEETOCAL_SUBDOMAIN", None),
    ("api", "REDIS_URL", "rediss://h?ssl_cert_reqs=none"),
    ("beat", "BROKER_URL", "amqps://h?ssl_cert_reqs=none"),
    ("worker", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?sslmode=no-verify"),
    ("api", "DATABASE_URL", f"postgresql://u:{SECRET}@h/d?sslmode=require"),
    ("api", "METRICS_KEY", "short-key"),
]
# linkpool.toml, and what is named.
FILES = [
    ("[meetings.a]\n[meetings.a]\n", "'a'"),
    ("[meetings.a\n", "line 1"),
    ("port = 1\n", "port"),
    ("meetings = 1\n", "meetings"),
    ("[meetings.'a b']\n", "meetings.a b"),
    ('["a\\nb"]\n', "a?b"),
    ("[meetings.a]\nmin_frehs = 1\n", "meetings.a.min_frehs"),
    ("[meetings.a]\nclaim_ttl_seconds = 1\n", "meetings.a.claim_ttl_seconds"),
    ("[meetings.a]\nmin_fresh = 5\nmax_fresh = 2\n", "meetings.a"),
    ("[meetings.a]\nfallback_url = 'x'\n", "meetings.a.fallback_url"),
    ("[meetings.a]\nworkspace = 'sales'\n", "meetings.a.workspace"),
    ("[workspaces.s]\nsubdomain = 'a'\n", "workspaces.s.api_key"),
    (f"[workspaces.s]\nsubdomain = 'a'\napi_key = '{SECRET}\n", "cannot be read"),
    ("[workspaces.s]\nsubdomain = 'a'\napi_key_file = '/none'\n", "workspaces.s.api_key_file"),
    (f"[workspaces.s]\nname='x'\nsubdomain='a'\napi_key='{SECRET}'\n", "workspaces.s.name"),
    (f"[workspaces.default]\nsubdomain = 'A'\napi_key = '{SECRET}'\n", "default.subdomain"),
]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory, so that no foreign linkpool.toml is read."""
    monkeypatch.chdir(tmp_path)


def refused(done: Done, name: str) -> str:
    """Return the line that an operator reads, having checked what holds for all of them."""
    assert done.code == 2, (done.code, done.out, done.err)
    assert done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    assert name.replace("\n", "?") in done.err
    for secret in (SECRET, STRONG, SECRET[:7], SECRET[7:], "short-key"):
        assert secret not in done.err + done.out
    return done.err


def prefixed(values: dict[str, str | None]) -> dict[str, str]:
    return {f"LINKPOOL_{name}": value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(("words", "name", "value"), VALUES)
def test_a_bad_value_is_named(
    monkeypatch: pytest.MonkeyPatch, words: str, name: str, value: str
) -> None:
    given = PROVIDER if name.startswith("NEETOCAL_") else {}
    where = {} if words == "up" else REDIS
    done = attempt(words, prefixed({**where, **given, name: value}), monkeypatch)
    assert f"LINKPOOL_{name}: ".replace("\n", "?") in refused(done, name)


@pytest.mark.parametrize(("words", "name", "value"), IN_PRODUCTION)
def test_what_production_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, words: str, name: str, value: str | None
) -> None:
    done = attempt(words, prefixed({**PRODUCTION, name: value}), monkeypatch)
    assert f"LINKPOOL_{name}: " in refused(done, name)
    without = {**PRODUCTION, **PROVIDER, "ENV": None, name: value}
    if words != "up" and name != "REDIS_URL":
        assert attempt(words, prefixed(without), monkeypatch).code == STARTED


@pytest.mark.parametrize(("text", "name"), FILES)
@pytest.mark.parametrize("words", ["api", "db upgrade"])
def test_a_mistake_in_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, text: str, name: str
) -> None:
    (tmp_path / "linkpool.toml").write_text(text)
    assert "linkpool.toml" in refused(attempt(words, prefixed(REDIS), monkeypatch), name)


def test_what_the_file_and_the_ledger_say_together_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The minimum comes from the ledger or the default, and the maximum from the file."""
    (tmp_path / "linkpool.toml").write_text("[meetings.a]\nmax_fresh = 1\n")
    done = attempt("db upgrade", prefixed(REDIS | PROVIDER), monkeypatch)
    assert "meetings.a: max_fresh" in refused(done, "linkpool.toml")


def test_one_workspace_described_twice_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = f"[workspaces.default]\nsubdomain = 'a'\napi_key = '{SECRET}'\n"
    (tmp_path / "linkpool.toml").write_text(text)
    done = attempt("api", prefixed(REDIS | PROVIDER), monkeypatch)
    assert "workspaces.default" in refused(done, "NEETOCAL_")


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (None, 0o600, "No such file"),
        (b"", 0o600, "empty"),
        (b" \n", 0o600, "empty"),
        (b"\xff\xfe", 0o600, "not text"),
        (STRONG.encode(), 0o666, "changed by other users"),
    ],
)
@pytest.mark.parametrize("name", ["ADMIN_KEY", "METRICS_KEY", "DATABASE_URL"])
def test_a_secret_file_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    mode: int,
    problem: str,
) -> None:
    """An empty one matters most: without its key, /metrics would be open to everybody."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    given = REDIS | {f"{name}_FILE": str(file)}
    assert problem in refused(attempt("api", prefixed(given), monkeypatch), f"{name}_FILE")


def test_without_anything_wrong_the_commands_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, every row above could pass for another reason."""
    environment = dict(os.environ)
    for words in ("api", "worker", "beat", "up"):
        where = {} if words == "up" else REDIS
        assert attempt(words, prefixed(where), monkeypatch).code == STARTED
    assert attempt("db upgrade", prefixed(REDIS), monkeypatch).code == 0
    assert "forgot 0 seals" in attempt("db restored", prefixed(REDIS), monkeypatch).out
    assert dict(os.environ) == environment
