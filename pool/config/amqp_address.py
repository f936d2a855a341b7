"""Parse the address of a broker that speaks AMQP, like RabbitMQ.

    amqp://[user:password@]host[:port][/virtual-host]
    amqps://…?ssl_ca_certs=/ca.pem            TLS, with a server that is verified by default

User, password and virtual host are percent-encoded. Options of TLS: ssl_cert_reqs (required or
none), ssl_ca_certs, ssl_certfile, ssl_keyfile. Everything else is refused by its name.
"""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import parse_qsl

from pool.config.redis_address import check_files
from pool.errors import SettingsError

SETTING = "LINKPOOL_BROKER_URL"
_FILES = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
_VERIFYING = "ssl_cert_reqs"


def is_amqp(url: str) -> bool:
    """Return True if an address has the scheme of AMQP, well-formed or not."""
    return url.partition("://")[0] in ("amqp", "amqps") and "://" in url


def parse_amqp(url: str) -> tuple[str, dict[str, Any] | None]:
    """Return the address without options, and Celery's options of TLS, None without TLS.

    Raise SettingsError if it is malformed. No error shows any part of the address but names.
    """
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, slash, virtual_host = rest.partition("/")
    credentials, _, place = authority.rpartition("@")
    if "#" in url or "@" in virtual_host or "@" in query or "@" in credentials:
        raise SettingsError(
            SETTING,
            "has a character in its user, password or virtual host that must be percent-encoded: "
            "/ is %2F, ? is %3F, # is %23, @ is %40",
        )
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?", place)
    if match is None or not 0 < int(match[2] or 1) < 65_536:
        raise SettingsError(
            SETTING,
            "has no host, or a port that is not between 1 and 65535; "
            "for example amqp://user:password@rabbitmq:5672/",
        )
    tls: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if scheme == "amqp" or name not in (_VERIFYING, *_FILES):
            shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "one that cannot be shown"
            hint = "; TLS needs amqps://" if name in (_VERIFYING, *_FILES) else ""
            raise SettingsError(SETTING, f"has an unknown option, {shown}{hint}")
        tls[name] = value
    clean = f"{scheme}://{authority}{slash}{virtual_host}"
    if scheme == "amqp":
        return clean, None
    verifying = tls.pop(_VERIFYING, "required").lower().removeprefix("cert_")
    if verifying not in ("required", "none"):
        raise SettingsError(SETTING, f"must have required or none as its {_VERIFYING}")
    check_files(tls, SETTING)
    verified = verifying == "required"
    return clean, {
        "cert_reqs": ssl.CERT_REQUIRED if verified else ssl.CERT_NONE,
        # Without a name the library would take a certificate of any host.
        **({"server_hostname": match[1].strip("[]")} if verified else {}),
        **{_FILES[name]: value for name, value in tls.items()},
    }
