"""What `linkpool up` prints once it serves."""

from __future__ import annotations

import shlex
import sys

from pool.up.run import Running


def announce(running: Running) -> None:
    """Addresses, key, and a curl line that works as it stands."""
    lines = [
        "linkpool is up.",
        f"  API      {running.api_url}",
        f"  Page     {running.ops_url}",
        f"  Docs     {running.api_url}/docs",
        f"  Key      {running.admin_key}",
    ]
    if running.sandbox_url:
        lines.append(f"  Sandbox  {running.sandbox_url}  (stands in for NeetoCal)")
    lines.append(f"  Data     {running.data_dir}")
    if running.sids:
        body = '{"customer_id": "customer-1"}'
        lines += [
            "",
            "Claim a link:",
            f"  curl -sS {running.api_url}/v1/meetings/{running.sids[0]}/claims"
            f" -H {shlex.quote('X-API-Key: ' + running.admin_key)}"
            f" -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        ]
    lines += ["", "Ctrl-C stops everything; the pool, bindings and keys are kept.", ""]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()
