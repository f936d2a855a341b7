"""Read values from the environment, from secret files and from linkpool.toml.

Errors name a value as its user wrote it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pool.config.file_trust import distrust_of_secret_file
from pool.config.workspaces import DEFAULT_WORKSPACE
from pool.errors import SettingsError

PREFIX = "LINKPOOL_"
TOML_FILE = "linkpool.toml"
# These are not linkpool's settings but its callers': its address, and the key to use.
URL_VARIABLE = f"{PREFIX}URL"
KEY_VARIABLE = f"{PREFIX}KEY"
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

# The settings among these whose file may be empty, as deploy/secrets.sh leaves it for an unset one.
# For the others, an empty file would leave a door open, or keep the ledger on this machine.
_MAY_BE_EMPTY = (
    "NEETOCAL_WEBHOOK_SECRET",
    "NEETOCAL_WEBHOOK_SECRET_PREVIOUS",
    "BROKER_URL",
    "NOTIFY_URL",
)

# LINKPOOL_PORT and LINKPOOL_METRICS_PORT are the addresses of Services named linkpool and
# linkpool-metrics, too, but then they are no numbers.
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")
# What Kubernetes sets for a Service named linkpool or linkpool-…, as its documentation on service
# discovery says.
_SERVICE_VARIABLE = re.compile(
    r"LINKPOOL_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def from_env_file(file: str | None) -> dict[str, str]:
    """Return the variables in a file of lines NAME=value, as systemd and Docker read it.

    Unlike those of a process they can change, and a reload reads them again.
    """
    name = f"{PREFIX}ENV_FILE"
    found: dict[str, str] = {}
    if not file:
        return found
    for number, line in enumerate(_read_secret(name, file).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        variable, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", variable):
            raise SettingsError(name, f"{file}, line {number}, is not NAME=value")
        if variable.startswith(PREFIX):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[variable] = value[1:-1] if quoted else value
    return found


def from_environment(env: Mapping[str, str], fields: Collection[str]) -> dict[str, Any]:
    """Return the values of these fields that the environment has, or a file that it names.

    Raise SettingsError, also for a variable that is no setting.
    """
    values: dict[str, Any] = {}
    for field in fields:
        name = field.upper()
        value = env.get(PREFIX + name)
        if value and name in SECRETS and name != "SECRET_KEY":
            # A secret of Kubernetes often ends with the newline of the file that it was made from.
            # The secret key stays as it is, since customers are known by it.
            value = value.rstrip("\r\n")
        if value and field in ("port", "metrics_port") and _SERVICE_ADDRESS.match(value):
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
    known = {PREFIX + name.upper() for name in fields}
    known |= {f"{PREFIX}{name}_FILE" for name in SECRETS} | {f"{PREFIX}CONFIG", f"{PREFIX}ENV_FILE"}
    known |= {URL_VARIABLE, KEY_VARIABLE}
    for name in env:
        ours = name.startswith(PREFIX) and not _SERVICE_VARIABLE.fullmatch(name)
        if ours and name not in known:
            raise SettingsError(name, "is not a setting of linkpool; docs/reference.md lists them")
    return values


def from_toml(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """Return the workspaces and meetings that a file declares, none if it is not there.

    Raise SettingsError.
    """
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
    except UnicodeDecodeError:  # its message would show a byte of the secret
        raise SettingsError(name, f"cannot read {file}: it is not text in UTF-8") from None
    except OSError as error:
        raise SettingsError(name, f"cannot read {file}: {error.strerror}") from None
    if distrust:
        raise SettingsError(name, distrust)
    return text


def default_workspace(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the workspace that the NEETOCAL_ settings describe; empty if none of them is set."""
    prefix = "neetocal_"
    given = {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix) and value
    }
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
