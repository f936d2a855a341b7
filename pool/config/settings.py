"""Define the settings, and load them from where pool/config/sources.py reads them.

`load()` is the only reader of the environment. The settings it returns are frozen and passed
down. A wrong or missing setting raises SettingsError, which names it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pool.config.amqp_address import is_amqp, parse_amqp
from pool.config.networks import TrustedProxies
from pool.config.outside import checked_public_url, checked_root_path
from pool.config.proxy_people import ProxyPeople, proxy_people
from pool.config.redis_address import NO_BROKER, check_files, parse_redis
from pool.config.secret_strength import check_secret
from pool.config.sources import (
    KEY_VARIABLE,
    PREFIX,
    SECRETS,
    TOML_FILE,
    URL_VARIABLE,
    default_workspace,
    from_env_file,
    from_environment,
    from_toml,
)
from pool.config.tls_files import check_loadable
from pool.config.workspaces import (
    DEFAULT_WORKSPACE,
    MeetingDefaults,
    Workspace,
    check_port,
    length_in_words,
)
from pool.errors import SettingsError
from pool.model.links import SID_PATTERN

__all__ = [
    "DEFAULT_WORKSPACE",
    "KEY_VARIABLE",
    "PREFIX",
    "SECRETS",
    "TOML_FILE",
    "URL_VARIABLE",
    "MeetingDefaults",
    "Settings",
    "Workspace",
    "load",
]


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
    proxy_identity_header: str | None = None  # proxies name the person they signed in here
    proxy_groups_header: str | None = None  # and that person's groups
    proxy_roles: str = ""  # names and groups, each with a role; see pool/config/proxy_people.py
    public_url: Annotated[str, AfterValidator(checked_public_url)] = (
        ""  # this linkpool's outside address; empty: not known
    )
    redis_forgets: bool = True
    demo_meeting: str | None = Field(default=None, pattern=SID_PATTERN)  # shown at /demo
    inbox_retention_days: int = Field(default=90, ge=1, le=3_650)
    ledger_retention_days: int = Field(default=0, ge=0, le=36_500)  # 0: links are kept for good
    keep_alive_seconds: int = Field(default=75, ge=1, le=3_600)  # of an idle connection
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)  # of worker and beat
    # The prefix under which a proxy shows the API and its pages.
    root_path: Annotated[str, AfterValidator(checked_root_path)] = ""
    env: Literal["production"] | None = None  # refuses what is only for one machine
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    workspaces: dict[str, Workspace] = Field(default_factory=dict)
    meetings: dict[str, MeetingDefaults] = Field(default_factory=dict)

    _lengths = field_validator("*", mode="before")(length_in_words)

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

    @model_validator(mode="after")
    def _links_outlast_their_events(self) -> Settings:
        if 0 < self.ledger_retention_days < self.inbox_retention_days:
            raise SettingsError(
                f"{PREFIX}LEDGER_RETENTION_DAYS",
                f"must be 0, for ever, or at least {PREFIX}INBOX_RETENTION_DAYS "
                f"({self.inbox_retention_days}): events that are kept need their links",
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
        setting = f"{PREFIX}{info.field_name}".upper()
        if info.field_name == "broker_url" and is_amqp(url):
            amqp = parse_amqp(url)[1] or {}
            named = [amqp.get(name) for name in ("ca_certs", "certfile", "keyfile")]
        else:
            tls = parse_redis(url, setting).tls or {}
            check_files(tls, setting)
            named = [tls.get(f"ssl_{name}") for name in ("ca_certs", "certfile", "keyfile")]
        check_loadable(setting, *named)
        return url

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

    @model_validator(mode="after")
    def _public_prefix(self) -> Settings:
        if self.public_url and urlsplit(self.public_url).path != self.root_path:
            raise SettingsError(
                f"{PREFIX}PUBLIC_URL", f"must end with {PREFIX}ROOT_PATH, and with no other path"
            )
        return self

    @model_validator(mode="after")
    def _people_behind_proxies(self) -> Settings:
        self.people_behind_proxies()  # raises
        return self

    @field_validator("notify_url")
    @classmethod
    def _web_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not re.fullmatch(r"https?://[\x21-\x7e]+", url.get_secret_value()):
            raise ValueError("must be an http:// or https:// address")
        if url:
            check_port(url.get_secret_value())
        return url

    def people_behind_proxies(self) -> ProxyPeople | None:
        """Return the people whom trusted proxies name, or None if proxies name nobody."""
        named = "trusted_proxies" in self.model_fields_set
        return proxy_people(
            self.proxy_identity_header,
            self.proxy_groups_header,
            self.proxy_roles,
            self.trusted_proxies if named else "",
        )

    @property
    def worker_processes(self) -> int:
        """Return how many processes one worker has at most, each with its own connections."""
        return self.worker_concurrency or max(3, len(self.workspaces) + 2)

    @property
    def sqlite_path(self) -> Path:
        """Return the ledger's file when no DATABASE_URL is set."""
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
    env |= from_env_file(env.get(f"{PREFIX}ENV_FILE"))
    values: dict[str, Any] = from_toml(Path(env.get(f"{PREFIX}CONFIG", TOML_FILE)), env)
    plain = [name for name in Settings.model_fields if name not in ("workspaces", "meetings")]
    values |= from_environment(env, plain)
    values |= {name: value for name, value in overrides.items() if value is not None}
    declared = default_workspace(values)
    if declared.keys() & values.get("workspaces", {}).keys():
        raise SettingsError(
            f"{TOML_FILE}: workspaces.{DEFAULT_WORKSPACE}",
            f"is there, and in {PREFIX}NEETOCAL_… as well; give one of them another name",
        )
    values["workspaces"] = dict(values.get("workspaces", {})) | declared
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = _name_of(first["loc"], from_environment=bool(declared))
        raise SettingsError(name, _problem_of(first)) from None


def _name_of(location: tuple[int | str, ...], *, from_environment: bool) -> str:
    path = [str(part) for part in location]
    if from_environment and path[:2] == ["workspaces", DEFAULT_WORKSPACE] and len(path) > 2:
        return f"{PREFIX}NEETOCAL_{path[2].upper()}"
    if path and path[0] in ("workspaces", "meetings"):
        return f"{TOML_FILE}: {'.'.join(path)}"
    return PREFIX + (path[0].upper() if path else "SETTINGS")


def _problem_of(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
