"""The OpenAPI document against the API that publishes it."""

from __future__ import annotations

import schemathesis
from schemathesis import checks

CHECKS = [
    checks.not_a_server_error,
    schemathesis.specs.openapi.checks.status_code_conformance,
    schemathesis.specs.openapi.checks.content_type_conformance,
    schemathesis.specs.openapi.checks.response_schema_conformance,
]
