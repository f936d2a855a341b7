"""Return the address at which this linkpool receives webhooks."""

from __future__ import annotations

from pool.config.settings import Settings

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listening, not an address to ask


def webhook_address(settings: Settings, workspace: str) -> str:
    """Return the webhook's outside address; without PUBLIC_URL, the address it listens on."""
    here = listening_address(settings, _ANY.get(settings.host, settings.host))
    return f"{settings.public_url or here}/v1/webhooks/{workspace}"


def listening_address(settings: Settings, host: str | None = None) -> str:
    """Return the URL at which this process listens, or with `host` in its place."""
    host = settings.host if host is None else host
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.port}{settings.root_path}"
