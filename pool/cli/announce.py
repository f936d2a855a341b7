"""Print the addresses of `linkpool up` once it serves."""

from __future__ import annotations

import shlex
import sys

from pool.up.run import Running


def announce(running: Running) -> None:
    """Print addresses, where the key is, and a curl line that works as it stands.

    The key itself is printed only by the run that made it, because output ends up in logs and on
    screens that others see. The curl line reads the key from its file.
    """
    key = running.admin_key or f"in {running.admin_key_place}"
    lines = [
        "linkpool is up.",
        f"  API      {running.api_url}",
        *([f"  Demo     {running.demo_url}"] if running.demo_url else []),
        f"  Page     {running.ops_url}",
        f"  Docs     {running.api_url}/docs",
        f"  Key      {key}",
    ]
    if running.admin_key:
        lines.append(f"           kept in {running.admin_key_place}; it is not shown again")
    if running.sandbox_url:
        lines.append(f"  Sandbox  {running.sandbox_url}  (stands in for NeetoCal)")
    lines.append(f"  Data     {running.data_dir}")
    if running.sids:
        body = '{"customer_id": "customer-1"}'
        lines += [
            "",
            "Claim a link:",
            f"  curl -sS {running.api_url}/v1/meetings/{running.sids[0]}/claims"
            f' -H "X-API-Key: {running.admin_key_word}"'
            f" -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        ]
    lines += ["", "Ctrl-C stops everything; the pool, bindings and keys are kept.", ""]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()
