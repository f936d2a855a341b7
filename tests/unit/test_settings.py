"""Test settings: where they come from, and one clear line for each that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pool.config.settings import SECRETS, Settings, load
from pool.errors import SettingsError

ADMIN, SECRET = "adm1n-Vq8Zk2Lw0sXy7Rt4Gh9Jd3Fb6Nm1", "s3cret-Wy5Tg8Hk1Lp4Zx7Cv0Bn3Mq6Rd9"
WORKSPACE = {"LINKPOOL_NEETOCAL_SUBDOMAIN": "acme", "LINKPOOL_NEETOCAL_API_KEY": "key"}


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty directory, so that no foreign linkpool.toml is read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problem(environ: dict[str, str], **overrides: Any) -> tuple[str, str]:
    """Return the setting that is named, and the line that the operator reads."""
    with pytest.raises(SettingsError) as wrong:
        load(environ, **overrides)
    line = str(wrong.value)
    assert "\n" not in line
    assert line.startswith(wrong.value.name)
    return wrong.value.name, line


def test_without_any_setting_it_starts() -> None:
    """Everything has a default, and no workspace is real."""
    settings = load({})
    assert settings.workspaces == {}
    assert (settings.host, settings.port, settings.api_workers) == ("127.0.0.1", 8_000, 1)
    assert (settings.sweep_seconds, settings.redis_forgets) == (5.0, True)
    assert settings.redis_url is None
    assert settings.sqlite_path == Path.cwd() / ".linkpool" / "ledger.sqlite3"


def test_the_neetocal_settings_make_the_default_workspace() -> None:
    """The workspace has the addresses that follow from the subdomain."""
    workspace = load(WORKSPACE).workspace("default")
    assert workspace is not None
    assert workspace.api_key.get_secret_value() == "key"
    assert workspace.api_url == workspace.link_url == "https://acme.neetocal.com"
    assert load(WORKSPACE).workspace("other") is None


def test_addresses_may_be_elsewhere() -> None:
    """A trailing slash is removed, which would stand twice in every URL."""
    workspace = load(
        WORKSPACE
        | {
            "LINKPOOL_NEETOCAL_BASE_URL": "http://127.0.0.1:9000/",
            "LINKPOOL_NEETOCAL_LINK_BASE_URL": "https://meet.example.com/a/",
            "LINKPOOL_NEETOCAL_REF_FIELD": "link-ref",
            "LINKPOOL_NEETOCAL_WEBHOOK_SECRET": "s3",
        }
    ).workspace("default")
    assert workspace is not None
    assert workspace.api_url == "http://127.0.0.1:9000"
    assert workspace.link_url == "https://meet.example.com/a"
    assert workspace.ref_field == "link-ref"
    assert workspace.webhook_secret is not None
    assert workspace.webhook_secret.get_secret_value() == "s3"


VENDORS_SCRIPT = "https://cdn.neetocal.com/javascript/embed.js"


@pytest.mark.parametrize(
    ("base_url", "set_to", "script"),
    [
        (None, None, VENDORS_SCRIPT),
        ("https://acme.neetocal.com", None, VENDORS_SCRIPT),
        ("http://127.0.0.1:9000/", None, "http://127.0.0.1:9000/javascript/embed.js"),
        ("https://notneetocal.com", None, "https://notneetocal.com/javascript/embed.js"),
        ("http://[::1]:9000", None, "http://[::1]:9000/javascript/embed.js"),
        ("http://127.0.0.1:9000", "https://s.example/e.js", "https://s.example/e.js"),
    ],
)
def test_the_embed_script_is_served_where_the_pages_are(
    base_url: str | None, set_to: str | None, script: str
) -> None:
    """The vendor's own by default, the stand-in's where one answers instead, or the setting."""
    given = {"NEETOCAL_BASE_URL": base_url, "NEETOCAL_EMBED_SCRIPT_URL": set_to}
    workspace = load(
        WORKSPACE | {f"LINKPOOL_{name}": value for name, value in given.items() if value}
    ).workspace("default")
    assert workspace is not None
    assert workspace.embed_script_url == script


WRONG = {
    "PORT": ["0", "65536", "http", "1.5"],
    "API_WORKERS": ["0", "65", "many"],
    "WORKER_CONCURRENCY": ["0"],
    "SWEEP_SECONDS": ["0", "301", "often"],
    "RECONCILE_SECONDS": ["0"],
    "PROBE_SECONDS": ["0"],
    "PROVIDER_RATE": ["0", "-1", "fast"],
    "PROVIDER_CONCURRENCY": ["0", "257"],
    "PROVIDER_TIMEOUT_SECONDS": ["0", "61"],
    "DIRECT_TIMEOUT_SECONDS": ["0", "31"],
    "CLAIM_TIMEOUT_SECONDS": ["0", "31"],
    "NEW_CLAIMS_PER_MINUTE_PER_KEY": ["-1"],
    "NEW_CLAIMS_PER_MINUTE_PER_ADDRESS": ["-1"],
    "REDIS_FORGETS": ["perhaps"],
    "LOG_FORMAT": ["xml"],
    "LOG_LEVEL": ["loud"],
}


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("RECONCILE_SECONDS", "2 min", 120.0),
        ("PROBE_SECONDS", "1.5", 1.5),
        ("KEEP_ALIVE_SECONDS", "2 min", 120),
        ("INBOX_RETENTION_DAYS", "12 weeks", 84),
        ("INBOX_RETENTION_DAYS", "84", 84),
    ],
)
def test_a_length_of_time_may_be_in_words(name: str, value: str, number: float) -> None:
    """A plain number is in the unit that the setting's name ends with."""
    assert getattr(load(WORKSPACE | {f"LINKPOOL_{name}": value}), name.lower()) == number


@pytest.mark.parametrize("value", ["often", "30 dayz", "nan", "1 h 30", "-5 s"])
def test_what_is_no_length_of_time_is_answered_with_what_to_write(value: str) -> None:
    """Whatever the unit."""
    for name in ("SWEEP_SECONDS", "INBOX_RETENTION_DAYS"):
        assert "write 45 s, 10 min, 2 h or 30 days" in problem({f"LINKPOOL_{name}": value})[1]
    text = problem({"LINKPOOL_INBOX_RETENTION_DAYS": "12 h"})[1]
    assert "valid integer" in text


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    """The setting is named as its user wrote it."""
    assert problem({f"LINKPOOL_{name}": value})[0] == f"LINKPOOL_{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUBDOMAIN", "Acme"),
        ("SUBDOMAIN", "acme.neetocal.com"),
        ("API_KEY", "key with spaces"),
        ("API_KEY", "schlüssel"),
        ("BASE_URL", "acme.neetocal.com"),
        ("BASE_URL", "ftp://acme.neetocal.com"),
        ("BASE_URL", "https://acme.neetocal.com/?x=1"),
        ("LINK_BASE_URL", "https://a.example#b"),
        ("REF_FIELD", "a b"),
        ("EMBED_SCRIPT_URL", "javascript:alert(1)"),
        ("EMBED_SCRIPT_URL", 'https://s.example/"><script>'),
        ("EMBED_SCRIPT_URL", "https://s.example/e.js\n"),
        ("BASE_URL", "https://acme.neetocal.com\n"),
    ],
)
def test_a_wrong_workspace_setting_is_named(name: str, value: str) -> None:
    """The error names the variable, and does not repeat a wrong key."""
    named, line = problem(WORKSPACE | {f"LINKPOOL_NEETOCAL_{name}": value})
    assert named == f"LINKPOOL_NEETOCAL_{name}"
    assert name != "API_KEY" or value not in line


@pytest.mark.parametrize("missing", ["SUBDOMAIN", "API_KEY"])
def test_half_a_workspace_is_a_mistake(missing: str) -> None:
    """The line names the missing setting, and the one that requires it."""
    environ = dict(WORKSPACE)
    del environ[f"LINKPOOL_NEETOCAL_{missing}"]
    named, line = problem(environ)
    assert named == f"LINKPOOL_NEETOCAL_{missing}"
    assert "is missing" in line
    assert next(iter(environ)) in line


def test_a_webhook_secret_alone_is_half_a_workspace() -> None:
    """It would be for nothing."""
    assert problem({"LINKPOOL_NEETOCAL_WEBHOOK_SECRET": "s"})[0] == "LINKPOOL_NEETOCAL_SUBDOMAIN"


@pytest.mark.parametrize("service", ["", "API_", "METRICS_", "REDIS_MASTER_0_"])
def test_what_kubernetes_sets_for_a_service_is_ignored(service: str) -> None:
    """With a Service named linkpool or linkpool-api, every container of the namespace gets
    these.
    """
    names = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP"]
    names += ["PORT_8000_TCP_PROTO", "PORT_8000_TCP_PORT", "PORT_8000_TCP_ADDR", "PORT_53_UDP"]
    injected = {f"LINKPOOL_{service}{name}": "tcp://10.0.0.1:8000" for name in names}
    assert load(injected) == load({})
    assert load(injected | {"LINKPOOL_HOST": "0.0.0.0"}).port == 8000


def test_blanks_around_a_secret_are_not_part_of_it() -> None:
    """They come from files that end with a newline. Only the secret key is taken as it is."""
    strong = "kq8ZtT3vHn2LwYc7RbX5mPd9sGfJ4aVe"
    given = {"REDIS_URL": "redis://h", "ADMIN_KEY": strong, "SECRET_KEY": strong}
    found = load({f"LINKPOOL_{name}": f"{value}\n" for name, value in given.items()})
    assert found.redis_url == "redis://h"
    assert found.admin_key is not None
    assert found.admin_key.get_secret_value() == strong
    assert found.secret_key is not None
    assert found.secret_key.get_secret_value() == f"{strong}\n"


@pytest.mark.parametrize("value", ["tcp:/10.0.0.1", "http://10.0.0.1:8000", "0", "65536", "8000x"])
def test_a_port_that_is_none_is_still_refused(value: str) -> None:
    """Only the address of a Service is left to Kubernetes."""
    assert problem({"LINKPOOL_PORT": value})[0] == "LINKPOOL_PORT"


@pytest.mark.parametrize("name", ["LINKPOOL_REDIS_ULR", "LINKPOOL_PORT_FILE", "LINKPOOL_"])
def test_a_misspelt_setting_is_named(name: str) -> None:
    """A typo must not pass for a default."""
    assert problem({name: "x"})[0] == name


def test_other_programs_settings_are_not_ours() -> None:
    """Empty ones, as compose files write them, are not ours, either."""
    assert load({"REDIS_URL": "x", "LINKPOOL_PORT": "", "PATH": "/bin"}) == load({})


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_a_file(tmp_path: Path, name: str) -> None:
    """The newline that editors put at its end is left out."""
    file = tmp_path / "secret"
    schemes = {"REDIS_URL": "redis", "BROKER_URL": "redis"}  # an address where one is asked for
    value_of_it = (
        f"{schemes.get(name, 'https')}://value-of-it.test:1/{'T0kq9-Zw4' * (name not in schemes)}"
    )
    file.write_text(f"{value_of_it}\n")
    settings = (
        load(WORKSPACE | {f"LINKPOOL_{name}_FILE": str(file)})
        if (name != "NEETOCAL_API_KEY")
        else load({"LINKPOOL_NEETOCAL_SUBDOMAIN": "acme", f"LINKPOOL_{name}_FILE": str(file)})
    )
    value = getattr(settings, name.lower())
    assert (value if isinstance(value, str) else value.get_secret_value()) == value_of_it


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The message names the variable and the path."""
    named, line = problem({"LINKPOOL_ADMIN_KEY_FILE": str(tmp_path / "nothing")})
    assert named == "LINKPOOL_ADMIN_KEY_FILE"
    assert str(tmp_path / "nothing") in line
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert problem({"LINKPOOL_ADMIN_KEY_FILE": str(tmp_path / "binary")})[0] == named


def test_a_secret_given_twice_is_a_mistake(tmp_path: Path) -> None:
    """Nobody can know which one counts."""
    (tmp_path / "key").write_text("one")
    environ = {"LINKPOOL_ADMIN_KEY": "two", "LINKPOOL_ADMIN_KEY_FILE": str(tmp_path / "key")}
    assert problem(environ)[0] == "LINKPOOL_ADMIN_KEY"


def test_no_secret_is_printed() -> None:
    """Settings end up in logs and tracebacks."""
    settings = load(WORKSPACE | {"LINKPOOL_ADMIN_KEY": ADMIN, "LINKPOOL_SECRET_KEY": SECRET})
    for text in (repr(settings), str(settings)):
        assert ADMIN not in text
        assert SECRET not in text
        assert "'key'" not in text


def test_the_command_line_wins() -> None:
    """Settings that it does not give are not touched."""
    settings = load({"LINKPOOL_PORT": "9000", "LINKPOOL_HOST": "::"}, port=9_001, host=None)
    assert (settings.port, settings.host) == (9_001, "::")
    assert problem({}, port=0)[0] == "LINKPOOL_PORT"


def test_settings_are_frozen() -> None:
    """They are handed down, not changed."""
    settings = load({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        load(WORKSPACE).workspaces["default"].subdomain = "other"  # type: ignore[misc]


def test_the_environment_is_read_by_load_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Settings made by hand has nothing of it; load() without arguments has."""
    monkeypatch.setenv("LINKPOOL_PORT", "9000")
    assert Settings().port == 8_000
    assert load().port == 9_000


# -- linkpool.toml -------------------------------------------------------------------

TOML = """
[workspaces.sales]
subdomain = "acme-sales"
api_key_file = "{directory}/key"
webhook_secret = "s"

[meetings.intro]
workspace = "sales"
min_fresh = 10

[meetings.demo]
"""


def write(directory: Path, text: str) -> None:
    (directory / "linkpool.toml").write_text(text)


def test_a_file_declares_workspaces_and_meetings(tmp_path: Path) -> None:
    """Beside the workspace from the environment; secrets may stand in files of their own."""
    (tmp_path / "key").write_text("key-of-sales\n")
    write(tmp_path, TOML.format(directory=tmp_path))
    settings = load(WORKSPACE)
    assert set(settings.workspaces) == {"default", "sales"}
    sales = settings.workspaces["sales"]
    assert sales.api_key.get_secret_value() == "key-of-sales"
    assert (sales.name, sales.api_url) == ("sales", "https://acme-sales.neetocal.com")
    assert settings.meetings["intro"].min_fresh == 10
    assert settings.meetings["demo"].workspace == "default"


def test_the_file_may_be_elsewhere(tmp_path: Path) -> None:
    """A file that was named must be there."""
    (tmp_path / "other.toml").write_text("[meetings.intro]\n")
    assert set(load({"LINKPOOL_CONFIG": str(tmp_path / "other.toml")}).meetings) == {"intro"}
    assert problem({"LINKPOOL_CONFIG": str(tmp_path / "no.toml")})[0] == "LINKPOOL_CONFIG"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[workspaces.sales]\nsubdomain = 'a'\n", "linkpool.toml: workspaces.sales.api_key"),
        ("[workspaces.sales]\napi_key = 'k'\n", "linkpool.toml: workspaces.sales.subdomain"),
        (
            "[workspaces.sales]\nsubdomain='a'\napi_key='k'\ncolour='red'\n",
            "linkpool.toml: workspaces.sales.colour",
        ),
        ("[workspaces]\nsales = 1\n", "linkpool.toml: workspaces.sales"),
        (
            "[workspaces.sales]\nsubdomain='a'\napi_key_file='/no/such/file'\n",
            "linkpool.toml: workspaces.sales.api_key_file",
        ),
        ("[meetings.intro]\nmin_fresh = -1\n", "linkpool.toml: meetings.intro.min_fresh"),
        ("[meetings.intro]\nmin_frehs = 1\n", "linkpool.toml: meetings.intro.min_frehs"),
        ("[meetings.intro]\nafter_booking='x'\n", "linkpool.toml: meetings.intro.after_booking"),
        ("[other]\n", "linkpool.toml: other"),
        ("port = 1\n", "linkpool.toml: port"),
        ("not toml", "linkpool.toml"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    """The message names the place in the file."""
    write(tmp_path, text)
    assert problem({})[0] == named


@pytest.mark.parametrize(
    "text",
    [
        "[workspaces]\n'a b' = {}\n",
        "meetings = 1\n",
        "workspaces = 1\n",
    ],
)
def test_tables_of_the_wrong_form_are_mistakes(tmp_path: Path, text: str) -> None:
    """The error is never a traceback."""
    write(tmp_path, text)
    assert "linkpool.toml" in problem({})[1]


def test_a_meeting_in_the_file_has_a_sid(tmp_path: Path) -> None:
    """The line says what a SID is made of."""
    write(tmp_path, "[meetings.'a b']\n")
    assert "a b" in problem({})[1]


def test_a_file_of_settings_wins_over_the_environment(tmp_path: Path) -> None:
    """The environment of a process cannot change; a reload reads the file again."""
    file = tmp_path / "env"
    file.touch(0o600)
    file.write_text("# of linkpool\n\nLINKPOOL_PORT=8123\nLINKPOOL_DATA_DIR='/a b'\nOTHER=x\n")
    settings = load({"LINKPOOL_ENV_FILE": str(file), "LINKPOOL_PORT": "8000"})
    assert (settings.port, settings.data_dir) == (8123, Path("/a b"))
    file.write_text("export X=1\n")
    name, line = problem({"LINKPOOL_ENV_FILE": str(file)})
    assert (name, "line 1" in line) == ("LINKPOOL_ENV_FILE", True)
    assert problem({"LINKPOOL_ENV_FILE": str(tmp_path / "none")})[0] == "LINKPOOL_ENV_FILE"
