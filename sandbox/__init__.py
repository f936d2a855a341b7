"""Stand in for NeetoCal: one-off links, booking pages, signed webhooks, and its possible faults.

A separate program. Nothing imports it, and it imports nothing of linkpool: it is reached
over HTTP, like the real one. Start it with `python -m sandbox`; `--help` names every flag.
"""

import sys

# Httpx's own command line, which nothing here uses, would take 4 MB.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
