"""Check that the files which an address names for TLS can be used, before a connection fails.

A connection that fails looks like a server that is away, for which a start waits.
"""

from __future__ import annotations

import ssl

from pool.errors import SettingsError


def check_loadable(
    setting: str, authority: str | None, certificate: str | None, key: str | None
) -> None:
    """Raise SettingsError, naming the setting, if one of these files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if key and not certificate:
        raise SettingsError(setting, "names a key for TLS and not its certificate")
    if authority:
        try:
            context.load_verify_locations(cafile=authority)
        except OSError:
            raise SettingsError(
                setting, f"names as authority for TLS what holds no certificate in PEM: {authority}"
            ) from None
    if certificate:
        try:
            # An empty password, since the library would ask the terminal for one.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError):
            raise SettingsError(
                setting,
                "names for TLS a certificate and a key that are none in PEM, do not belong "
                f"together, or want a password: {certificate}",
            ) from None
