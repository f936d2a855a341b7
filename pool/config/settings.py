"""Read the settings from the environment (prefix LINKPOOL_), secret files and linkpool.toml.

`load()` is the only reader of the environment. The settings it returns are frozen and passed
down. A wrong or missing setting raises SettingsError, which names it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pool.config.amqp_address import is_amqp, parse_amqp
from pool.config.file_trust import distrust_of_secret_file
from pool.config.networks import TrustedProxies
from pool.config.redis_address import NO_BROKER, check_files, parse_redis
from pool.config.root_path import checked_root_path
from pool.config.secret_strength import check_secret
from pool.errors import SettingsError
from pool.model.links import SID_PATTERN, SUBDOMAIN_PATTERN

PREFIX = "LINKPOOL_"
TOML_FILE = "linkpool.toml"
# Not settings of linkpool, but of those who call it: where it answers, and by which key.
URL_VARIABLE = f"{PREFIX}URL"
KEY_VARIABLE = f"{PREFIX}KEY"
DEFAULT_WORKSPACE = "default"
VENDOR_HOST = "neetocal.com"
_EMBED_SCRIPT = "/javascript/embed.js"
# Settings that may come from a file named by X_FILE, as container secrets do.
SECRETS = (
    "NEETOCAL_API_KEY",
    "NEETOCAL_WEBHOOK_SECRET",
    "NEETOCAL_WEBHOOK_SECRET_PREVIOUS",
    "REDIS_URL",
    "BROKER_URL",
    "DATABASE_URL",
    "ADMIN_KEY",
    "SECRET_KEY",
    "METRICS_KEY",
    "NOTIFY_URL",
)

# Those of them whose file may be empty: deploy/secrets.sh makes it so where there is no webhook.
# An empty one of the others would be a door without its lock.
_MAY_BE_EMPTY = ("NEETOCAL_WEBHOOK_SECRET", "NEETOCAL_WEBHOOK_SECRET_PREVIOUS")

# LINKPOOL_PORT is the address of a Service named linkpool, too, but then it is no number.
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")
_SERVICE_VARIABLE = re.compile(
    r"LINKPOOL_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workspace(_Frozen):
    """One account at a provider."""

    name: str = Field(pattern=SID_PATTERN)
    provider: Literal["neetocal"] = "neetocal"
    subdomain: str = Field(pattern=SUBDOMAIN_PATTERN)
    api_key: SecretStr
    webhook_secret: SecretStr | None = None
    webhook_secret_previous: SecretStr | None = None  # accepted too, during a rotation
    base_url: str = ""  # where its API answers; empty: https://{subdomain}.neetocal.com
    link_base_url: str = ""  # what every link's URL begins with; empty: base_url
    ref_field: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    # The provider's embed script; left out, the vendor's own, or where base_url serves it.
    embed_script_url: str = Field(default="", validate_default=True)

    @field_validator("api_key")
    @classmethod
    def _printable(cls, key: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces")
        return key

    @field_validator("base_url", "link_base_url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9_./-]*)?", url):
            raise ValueError("must be an http:// or https:// address without query or fragment")
        if url:
            check_port(url)
        return url.rstrip("/")

    @field_validator("embed_script_url")
    @classmethod
    def _script(cls, url: str, info: ValidationInfo) -> str:
        if url:
            if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+/[A-Za-z0-9_./-]+", url):
                raise ValueError("must be an http:// or https:// address of a script")
            check_port(url)
            return url
        base: str = info.data.get("base_url", "")
        host = base.partition("://")[2].partition("/")[0].partition(":")[0] or VENDOR_HOST
        if f".{host}".endswith(f".{VENDOR_HOST}"):
            return f"https://cdn.{VENDOR_HOST}{_EMBED_SCRIPT}"
        return f"{base}{_EMBED_SCRIPT}"  # the sandbox's, or another stand-in's

    @property
    def api_url(self) -> str:
        """Return the address of the provider's API, without a trailing slash."""
        return self.base_url or f"https://{self.subdomain}.neetocal.com"

    # What the URLs of the provider's links were seen to begin with; learned, never set.
    _learned_link_base: str = PrivateAttr("")

    @property
    def has_link_base(self) -> bool:
        """Return True if a setting says what links' URLs begin with, so that it is not learned."""
        return bool(self.link_base_url)

    @property
    def link_url(self) -> str:
        """Return what every link's URL begins with, without a trailing slash."""
        # Every claim's answer asks, and the library's way to a private attribute takes longer than
        # all the rest of the answer.
        private = self.__pydantic_private__ or {}
        return self.link_base_url or private.get("_learned_link_base") or self.api_url


class MeetingDefaults(_Frozen):
    """A meeting that linkpool.toml declares, added to the ledger at start if it is missing."""

    workspace: str = DEFAULT_WORKSPACE
    min_fresh: int | None = Field(default=None, ge=0, le=1_000_000)
    max_fresh: int | None = Field(default=None, ge=1, le=1_000_000)
    cover_seconds: int | None = Field(default=None, ge=0, le=86_400)
    claim_ttl_seconds: int | None = Field(default=None, ge=60, le=31_536_000)
    max_fresh_age_seconds: int | None = Field(default=None, ge=60, le=31_536_000)
    after_booking: Literal["same", "new"] | None = None
    on_empty: Literal["direct", "fail"] | None = None
    target: Literal["fixed", "auto"] | None = None
    fallback_url: str | None = None
    match_email: bool | None = None
    reserve: int | None = Field(default=None, ge=0, le=1_000_000)

    @field_validator("fallback_url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[\x21-\x7e]+", url):
            raise ValueError("must be an http:// or https:// address")
        return url

    @model_validator(mode="after")
    def _consistent(self) -> MeetingDefaults:
        # Where one of two is not declared, the ledger has it: the migration compares them.
        if self.min_fresh and self.max_fresh and self.max_fresh < self.min_fresh:
            raise ValueError(f"max_fresh ({self.max_fresh}) is below min_fresh ({self.min_fresh})")
        return self

    def given(self) -> dict[str, Any]:
        """Return the declared values, under the names of a Meeting's fields."""
        values = self.model_dump(exclude_none=True)
        return {
            "target_mode" if name == "target" else name: value for name, value in values.items()
        }


class Settings(BaseSettings):
    """All settings of one linkpool process, frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    neetocal_subdomain: str | None = None
    neetocal_api_key: SecretStr | None = None
    neetocal_webhook_secret: SecretStr | None = None
    neetocal_webhook_secret_previous: SecretStr | None = None
    neetocal_base_url: str = ""
    neetocal_link_base_url: str = ""
    neetocal_ref_field: str | None = None
    neetocal_embed_script_url: str = ""

    redis_url: str | None = None  # None: the embedded Redis of `linkpool up`
    broker_url: str | None = None  # None: the same Redis; or RabbitMQ by amqp://
    database_url: str | None = None  # None: SQLite in data_dir
    database_connections: int = Field(default=5, ge=1, le=100)  # of one process, to PostgreSQL
    data_dir: Path = Path(".linkpool")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65_535)
    api_workers: int = Field(default=1, ge=1, le=64)
    worker_concurrency: int | None = Field(default=None, ge=1, le=64)
    admin_key: SecretStr | None = None
    secret_key: SecretStr | None = None  # None: made and kept in data_dir
    metrics_key: SecretStr | None = None
    notify_url: SecretStr | None = None  # a webhook that accepts Slack's format

    sweep_seconds: float = Field(default=5.0, ge=0.5, le=300)
    reconcile_seconds: float = Field(default=300.0, ge=1, le=86_400)
    probe_seconds: float = Field(default=60.0, ge=1, le=3_600)
    provider_rate: float = Field(default=10.0, ge=0.1, le=10_000)
    provider_concurrency: int = Field(default=16, ge=1, le=256)
    provider_timeout_seconds: float = Field(default=10.0, ge=0.5, le=60)
    direct_timeout_seconds: float = Field(default=3.0, ge=0.1, le=30)
    claim_timeout_seconds: float = Field(default=2.0, ge=0.05, le=30)
    new_claims_per_minute_per_key: int = Field(default=0, ge=0)  # 0: no limit
    new_claims_per_minute_per_address: int = Field(default=0, ge=0)
    public_claims_per_minute_per_address: int = Field(default=20, ge=0)
    public_claims_per_minute_per_meeting: int = Field(default=120, ge=0)
    trusted_proxies: str = "127.0.0.1,::1"  # addresses and networks; * trusts every peer
    redis_forgets: bool = True
    demo_meeting: str | None = Field(default=None, pattern=SID_PATTERN)  # shown at /demo
    inbox_retention_days: int = Field(default=90, ge=1, le=3_650)
    keep_alive_seconds: int = Field(default=75, ge=1, le=3_600)  # of an idle connection
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)  # of worker and beat
    root_path: str = ""  # the prefix under which a proxy shows the API and its pages
    env: Literal["production"] | None = None  # refuses what is only for one machine
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    workspaces: dict[str, Workspace] = Field(default_factory=dict)
    meetings: dict[str, MeetingDefaults] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # load() reads the environment itself, so that it can name what is wrong there.
        return (init_settings,)

    @model_validator(mode="after")
    def _meetings_have_names(self) -> Settings:
        for sid, meeting in self.meetings.items():
            if not re.fullmatch(SID_PATTERN, sid):
                raise SettingsError(
                    f"{TOML_FILE}: meetings.{sid}", "is not a SID (letters, digits, - and _)"
                )
            # The default one may be the sandbox's, which `linkpool up` adds.
            if meeting.workspace not in (DEFAULT_WORKSPACE, *self.workspaces):
                raise SettingsError(
                    f"{TOML_FILE}: meetings.{sid}.workspace",
                    f"{meeting.workspace} is not configured; add [workspaces.{meeting.workspace}]",
                )
        return self

    @field_validator("admin_key", "secret_key")
    @classmethod
    def _hard_to_guess(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            check_secret(secret.get_secret_value())
        return secret

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _address(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return url
        if info.field_name == "broker_url" and is_amqp(url):
            parse_amqp(url)
        else:
            setting = f"{PREFIX}{info.field_name}".upper()
            check_files(parse_redis(url, setting).tls or {}, setting)
        return url

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, path: str) -> str:
        return checked_root_path(path)

    @model_validator(mode="after")
    def _broker_beside_a_cluster(self) -> Settings:
        if self.redis_url and not self.broker_url and parse_redis(self.redis_url).is_cluster:
            raise SettingsError(f"{PREFIX}REDIS_URL", f"names a Redis Cluster, {NO_BROKER}")
        if not self.redis_forgets and self.redis_url and parse_redis(self.redis_url).is_cluster:
            raise SettingsError(
                f"{PREFIX}REDIS_FORGETS",
                "is false, but a Redis Cluster forgets: replicas lag behind, and slots move",
            )
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        TrustedProxies(text)
        return text

    @field_validator("notify_url")
    @classmethod
    def _web_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not re.fullmatch(r"https?://[\x21-\x7e]+", url.get_secret_value()):
            raise ValueError("must be an http:// or https:// address")
        if url:
            check_port(url.get_secret_value())
        return url

    @property
    def worker_processes(self) -> int:
        """Return how many processes one worker has, each with its own connections."""
        return self.worker_concurrency or max(3, len(self.workspaces) + 2)

    @property
    def sqlite_path(self) -> Path:
        """Return where the ledger is when no DATABASE_URL is set."""
        return self.data_dir.absolute() / "ledger.sqlite3"

    def learn_link_base(self, name: str, base: str) -> None:
        """Set what a workspace's links begin with, as the provider's answers show it.

        Nothing else in a process's settings ever changes; see pool.supply.link_bases.
        """
        workspace = self.workspaces.get(name)
        if workspace is not None:
            learned = workspace.model_copy()
            learned._learned_link_base = base
            self.workspaces[name] = learned

    def workspace(self, name: str) -> Workspace | None:
        """Return the workspace of this name, or None if it is not configured."""
        return self.workspaces.get(name)


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Return the settings of this process. `overrides`, from the command line, win.

    Raise SettingsError, naming the setting as its user wrote it.
    """
    env = dict(os.environ if environ is None else environ)
    values: dict[str, Any] = _from_toml(Path(env.get(f"{PREFIX}CONFIG", TOML_FILE)), env)
    values |= _from_environment(env)
    values |= {name: value for name, value in overrides.items() if value is not None}
    from_environment = _default_workspace(values)
    if from_environment.keys() & values.get("workspaces", {}).keys():
        raise SettingsError(
            f"{TOML_FILE}: workspaces.{DEFAULT_WORKSPACE}",
            f"is there, and in {PREFIX}NEETOCAL_… as well; give one of them another name",
        )
    values["workspaces"] = dict(values.get("workspaces", {})) | from_environment
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = _name_of(first["loc"], from_environment=bool(from_environment))
        raise SettingsError(name, _problem_of(first)) from None


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    plain = [name for name in Settings.model_fields if name not in ("workspaces", "meetings")]
    for field in plain:
        name = field.upper()
        value = env.get(PREFIX + name)
        if value and field == "port" and _SERVICE_ADDRESS.match(value):
            value = None
        file = env.get(f"{PREFIX}{name}_FILE") if name in SECRETS else None
        if value and file:
            raise SettingsError(f"{PREFIX}{name}", f"is set twice; unset it or {PREFIX}{name}_FILE")
        if file:
            value = _read_secret(f"{PREFIX}{name}_FILE", file)
            if not value and name not in _MAY_BE_EMPTY:
                raise SettingsError(f"{PREFIX}{name}_FILE", f"names an empty file: {file}")
        if value:
            values[field] = value
    known = {PREFIX + name.upper() for name in plain}
    known |= {f"{PREFIX}{name}_FILE" for name in SECRETS} | {f"{PREFIX}CONFIG"}
    known |= {URL_VARIABLE, KEY_VARIABLE}
    for name in env:
        if name.startswith(PREFIX) and name not in known and not _of_kubernetes(name):
            raise SettingsError(name, "is not a setting of linkpool; docs/reference.md lists them")
    return values


def _of_kubernetes(name: str) -> bool:
    """Return True for a variable that Kubernetes sets for a Service named linkpool or linkpool-….

    Its documentation on service discovery lists them.
    """
    return _SERVICE_VARIABLE.fullmatch(name) is not None


def _from_toml(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if f"{PREFIX}CONFIG" in env:
            raise SettingsError(f"{PREFIX}CONFIG", f"names a missing file: {path}") from None
        return {}
    except OSError as error:
        raise SettingsError(f"{PREFIX}CONFIG", f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(str(path), f"cannot be read: {error}") from None
    for key in raw:
        if key not in ("workspaces", "meetings"):
            raise SettingsError(f"{path}: {key}", "only [workspaces.*] and [meetings.*] exist")
        if not isinstance(raw[key], dict):
            raise SettingsError(f"{path}: {key}", "must be a table of tables")
    workspaces = {}
    for name, table in raw.get("workspaces", {}).items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: workspaces.{name}", "must be a table")
        table = dict(table)
        if "name" in table:
            raise SettingsError(
                f"{path}: workspaces.{name}.name", "is not a setting: the table's name is its name"
            )
        for secret in ("api_key", "webhook_secret", "webhook_secret_previous"):
            file = table.pop(f"{secret}_file", None)
            if file is not None:
                table[secret] = _read_secret(f"{path}: workspaces.{name}.{secret}_file", str(file))
        workspaces[name] = {"name": name} | table
    return {"workspaces": workspaces, "meetings": raw.get("meetings", {})}


def _read_secret(name: str, file: str) -> str:
    try:
        distrust = distrust_of_secret_file(Path(file))
        text = "" if distrust else Path(file).read_text("utf-8").strip()
    except UnicodeDecodeError:  # whose message shows a byte of the secret
        raise SettingsError(name, f"cannot read {file}: it is not text in UTF-8") from None
    except OSError as error:
        raise SettingsError(name, f"cannot read {file}: {error.strerror}") from None
    if distrust:
        raise SettingsError(name, distrust)
    return text


def _default_workspace(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the workspace that the NEETOCAL_ settings describe; empty if none of them is set."""
    parts = {
        "subdomain": values.get("neetocal_subdomain"),
        "api_key": values.get("neetocal_api_key"),
        "webhook_secret": values.get("neetocal_webhook_secret"),
        "webhook_secret_previous": values.get("neetocal_webhook_secret_previous"),
        "base_url": values.get("neetocal_base_url"),
        "link_base_url": values.get("neetocal_link_base_url"),
        "ref_field": values.get("neetocal_ref_field"),
        "embed_script_url": values.get("neetocal_embed_script_url"),
    }
    given = {name: value for name, value in parts.items() if value}
    if not given:
        return {}
    for name in ("subdomain", "api_key"):
        if name not in given:
            some = f"{PREFIX}NEETOCAL_{next(iter(given)).upper()}"
            raise SettingsError(
                f"{PREFIX}NEETOCAL_{name.upper()}",
                f"is missing, but {some} is set; set both for a real workspace, "
                "neither for the sandbox",
            )
    return {DEFAULT_WORKSPACE: {"name": DEFAULT_WORKSPACE} | given}


def check_port(url: str) -> None:
    """Raise ValueError if the address has a port that does not exist, or no host."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname is not None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("has no host, or a port that is not between 1 and 65535")


def _name_of(location: tuple[int | str, ...], *, from_environment: bool) -> str:
    path = [str(part) for part in location]
    if from_environment and path[:2] == ["workspaces", DEFAULT_WORKSPACE] and len(path) > 2:
        return f"{PREFIX}NEETOCAL_{path[2].upper()}"
    if path and path[0] in ("workspaces", "meetings"):
        return f"{TOML_FILE}: {'.'.join(path)}"
    return PREFIX + (path[0].upper() if path else "SETTINGS")


def _problem_of(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
