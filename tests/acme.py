"""Provide the workspace of tests that receive signed webhooks."""

from __future__ import annotations

from pydantic import SecretStr

from pool.config.settings import Workspace

ACME = Workspace(
    name="default",
    subdomain="acme",
    api_key=SecretStr("key"),
    webhook_secret=SecretStr("secret"),
    ref_field="ref",
)
